package examples_test

import (
	"cmp"
	"os"
	"strconv"
	"strings"
	"testing"
)

// floors are the oldest versions without known vulnerabilities of modules that
// fosite requires in older ones. They stand in go.mod because minimal version
// selection carries them to whoever imports this module; a replace would not.
var floors = map[string]string{
	"github.com/go-jose/go-jose/v3":  "v3.0.5", // parses what strangers send
	"golang.org/x/crypto":            "v0.53.0",
	"golang.org/x/net":               "v0.56.0",
	"golang.org/x/text":              "v0.39.0",
	"golang.org/x/sys":               "v0.46.0",
	"golang.org/x/oauth2":            "v0.36.0",
	"google.golang.org/grpc":         "v1.82.1",
	"go.opentelemetry.io/otel":       "v1.44.0",
	"go.opentelemetry.io/otel/trace": "v1.44.0",
	"go.opentelemetry.io/otel/sdk":   "v1.44.0",
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp": "v1.44.0",
}

func TestDependencyFloors(t *testing.T) {
	data, err := os.ReadFile("../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	required := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if f := strings.Fields(strings.TrimPrefix(line, "require ")); len(f) >= 2 && strings.HasPrefix(f[1], "v") {
			required[f[0]] = f[1]
		}
	}
	for name, floor := range floors {
		switch have := required[name]; {
		case have == "":
			t.Errorf("go.mod does not require %s: it must, at %s or later, so that importers get no older one", name, floor)
		case compareVersions(have, floor) < 0:
			t.Errorf("go.mod requires %s %s: it has known vulnerabilities before %s", name, have, floor)
		}
	}
}

// compareVersions compares the numbers of two versions; it does not know
// prereleases, which no floor is.
func compareVersions(a, b string) int {
	x, y := strings.Split(strings.TrimPrefix(a, "v"), "."), strings.Split(strings.TrimPrefix(b, "v"), ".")
	for i := range min(len(x), len(y)) {
		n, _ := strconv.Atoi(x[i])
		m, _ := strconv.Atoi(y[i])
		if c := cmp.Compare(n, m); c != 0 {
			return c
		}
	}
	return 0
}
