package main

import (
	"io"
	"log/slog"
	"os"

	"golang.org/x/sys/unix"
)

// newLogger logs to w: text where a person reads along, JSON where a collector does.
func newLogger(w io.Writer, level, format string) *slog.Logger {
	return slog.New(newHandler(w, logLevel(level), format))
}

func newHandler(w io.Writer, level slog.Leveler, format string) slog.Handler {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" || format == "auto" && isTerminal(w) {
		return slog.NewTextHandler(w, options)
	}
	return slog.NewJSONHandler(w, options)
}

func logLevel(name string) (level slog.Level) {
	if err := level.UnmarshalText([]byte(name)); err != nil {
		panic("penstock: log level " + name + " passed its check") // settings takes only the names slog knows.
	}
	return level
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	_, err := unix.IoctlGetTermios(int(file.Fd()), unix.TCGETS)
	return err == nil
}
