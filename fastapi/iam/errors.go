package iam

import "fmt"

// Kind classifies a refusal.
type Kind uint8

const (
	Invalid  Kind = iota // What was asked for makes no sense.
	NotFound             // There is nothing of that name.
	Exists               // There is something of that name already.
	InUse                // It cannot go while something refers to it.
	Denied               // Whoever asks must not.
	Limit                // There are too many already.
)

// Error is why something was not done. Its text is for whoever asked.
type Error struct {
	Kind    Kind
	Message string
}

func (e *Error) Error() string { return e.Message }

func refuse(k Kind, format string, args ...any) *Error {
	return &Error{k, fmt.Sprintf(format, args...)}
}
