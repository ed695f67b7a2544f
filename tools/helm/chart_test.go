package helm

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

// helm runs Helm, which make test-helm installs; without it the test is skipped.
func helm(t *testing.T, args ...string) (stdout, stderr string, ok bool) {
	t.Helper()
	path, err := exec.LookPath("helm")
	if err != nil {
		t.Skip("no helm here; make test-helm builds one")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	err = cmd.Run()
	if _, exited := errors.AsType[*exec.ExitError](err); err != nil && !exited {
		t.Fatal(err)
	}
	return out.String(), errs.String(), err == nil
}

// An object is a document of Kubernetes.
type object map[string]any

// at follows names, and numbers of lists, from the object down.
func (o object) at(path ...any) any {
	var v any = o
	for _, step := range path {
		switch step := step.(type) {
		case string:
			m, _ := v.(object) // What is within a document has the type of the document.
			v = m[step]
		case int:
			l, _ := v.([]any)
			if step >= len(l) {
				return nil
			}
			v = l[step]
		}
	}
	return v
}

// render returns what the chart makes of the values, by kind/name.
func render(t *testing.T, set string) map[string]object {
	t.Helper()
	out, errs, ok := helm(t, "template", "store", "penstock", "--kube-version", "1.29.0", "--set", set)
	if !ok {
		t.Fatalf("%s: %s", set, errs)
	}
	objects := make(map[string]object)
	for d := yaml.NewDecoder(strings.NewReader(out)); ; {
		var o object
		err := d.Decode(&o)
		if errors.Is(err, io.EOF) {
			return objects
		}
		if err != nil {
			t.Fatalf("%s: %v in\n%s", set, err, out)
		}
		if len(o) > 0 { // A comment alone is none.
			objects[fmt.Sprint(o.at("kind"), "/", o.at("metadata", "name"))] = o
		}
	}
}

func TestLint(t *testing.T) {
	if out, errs, ok := helm(t, "lint", "--strict", "penstock"); !ok {
		t.Errorf("%s%s", out, errs)
	}
}

func TestChart(t *testing.T) {
	objects := render(t, "drives.count=4,settings.parity=1,tlsSecret=web,rootSecret=root")
	set := objects["StatefulSet/store"]
	pod := []any{"spec", "template", "spec"}
	container := append(slices.Clone(pod), "containers", 0)
	for _, test := range []struct {
		what string
		path []any
		want any
	}{
		{"claims of drives outlive the release", []any{"spec", "persistentVolumeClaimRetentionPolicy", "whenDeleted"}, "Retain"},
		{"no root", append(slices.Clone(pod), "securityContext", "runAsNonRoot"), true},
		{"nothing to write but the drives", append(slices.Clone(container), "securityContext", "readOnlyRootFilesystem"), true},
		{"no capabilities", append(slices.Clone(container), "securityContext", "capabilities", "drop", 0), "ALL"},
		{"HTTPS is what the kubelet speaks, too", append(slices.Clone(container), "readinessProbe", "httpGet", "scheme"), "HTTPS"},
		{"the root pair comes from the secret", append(slices.Clone(container), "env", 1, "valueFrom", "secretKeyRef", "name"), "root"},
		{"a claim for each drive", []any{"spec", "volumeClaimTemplates", 3, "metadata", "name"}, "drive-4"},
		{"and no more", []any{"spec", "volumeClaimTemplates", 4}, nil},
	} {
		if got := set.at(test.path...); got != test.want {
			t.Errorf("%s: %v is %v, want %v", test.what, test.path, got, test.want)
		}
	}
	var settings map[string]any
	if err := yaml.Unmarshal([]byte(objects["ConfigMap/store"].at("data", "penstock.yaml").(string)), &settings); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"drives": "/drives/d{1...4}", "parity": 1, "tls-cert": "/tls/tls.crt", "address": ":9000"} {
		if settings[name] != want {
			t.Errorf("setting %s is %v, want %v", name, settings[name], want)
		}
	}
	if objects["PodDisruptionBudget/store"].at("spec", "maxUnavailable") != 1 {
		t.Error("more than one node may be away at a time")
	}
}

// TestStores asks for three replicas, which are three stores: no service may spread the requests of a client over them.
func TestStores(t *testing.T) {
	objects := render(t, "replicas=3")
	for _, name := range []string{"store-0", "store-1", "store-2"} {
		if got := objects["Service/"+name].at("spec", "selector", "statefulset.kubernetes.io/pod-name"); got != name {
			t.Errorf("service %s leads to %v", name, got)
		}
	}
	if objects["Service/store"] != nil {
		t.Error("one service leads to all stores")
	}
}

func TestRefusals(t *testing.T) {
	for set, says := range map[string]string{
		"drives.count=0":          "1 to 64 drives",
		"drives.count=65":         "1 to 64 drives",
		"settings.address=:80":    "set by the chart itself",
		"settings.drives=/mnt/d1": "set by the chart itself",
	} {
		if _, errs, ok := helm(t, "template", "store", "penstock", "--kube-version", "1.29.0", "--set", set); ok || !strings.Contains(errs, says) {
			t.Errorf("%s: %v, %s", set, ok, errs)
		}
	}
}
