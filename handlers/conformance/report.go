package conformance

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"
)

// Level is how strongly the specification asks for what a check looks at
// (RFC 2119).
type Level string

// The levels. A server that does not do what is MAY is not at fault: such a
// check tells about it, and never makes a report fail.
const (
	Must   Level = "MUST"
	Should Level = "SHOULD"
	May    Level = "MAY"
)

// Outcome is what came of a check.
type Outcome string

// The outcomes. A skipped check says why: not offered by the server, or
// something is missing in the [Config].
const (
	Pass Outcome = "pass"
	Fail Outcome = "fail"
	Skip Outcome = "skip"
)

// Check describes one check.
type Check struct {
	// Name is group/name, stable over versions.
	Name string `json:"name"`
	// Title is the rule, as a sentence.
	Title string `json:"title"`
	// Spec is where the rule stands, for example "RFC 6749 §4.1.2".
	Spec  string `json:"spec"`
	Level Level  `json:"level"`
}

// Result is what one check found.
type Result struct {
	Check
	Outcome Outcome `json:"outcome"`
	// Detail is what was expected and what came instead, or why the check was
	// skipped. It quotes no token, code or secret.
	Detail string `json:"detail,omitempty"`
	// Seconds is how long the check took.
	Seconds float64 `json:"seconds"`
}

// Report is what [Run] found.
type Report struct {
	Issuer  string    `json:"issuer"`
	Started time.Time `json:"started"`
	// Strict is that of the Config: whether SHOULD counts.
	Strict  bool     `json:"strict"`
	Results []Result `json:"results"`
}

// OK reports whether nothing failed that counts: what is MUST, and what is
// SHOULD if the report is strict. At least one check must have passed.
func (r *Report) OK() bool {
	return len(r.Failed()) == 0 && r.count(Pass) > 0
}

// Failed are the results that make the report fail.
func (r *Report) Failed() []Result {
	var failed []Result
	for _, res := range r.Results {
		if res.counts(r.Strict) {
			failed = append(failed, res)
		}
	}
	return failed
}

func (r Result) counts(strict bool) bool {
	return r.Outcome == Fail && (r.Level == Must || strict && r.Level == Should)
}

func (r *Report) count(o Outcome) int {
	n := 0
	for _, res := range r.Results {
		if res.Outcome == o {
			n++
		}
	}
	return n
}

// verdict is the outcome as people read it: a failure that does not count is a
// warning, or something to know.
func (r Result) verdict(strict bool) string {
	switch {
	case r.Outcome != Fail:
		return string(r.Outcome)
	case r.counts(strict):
		return "FAIL"
	case r.Level == May:
		return "info"
	}
	return "warn"
}

// WriteText writes the report for people: a line for each check, what went wrong
// or why it was skipped beneath it, and the sums.
func (r *Report) WriteText(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, checked %s\n\n", r.Issuer, r.Started.Format(time.RFC3339))
	sums := map[string]int{}
	for _, res := range r.Results {
		v := res.verdict(r.Strict)
		sums[v]++
		fmt.Fprintf(&b, "%-4s  %-6s  %-32s  %s (%s)\n", v, res.Level, res.Name, res.Title, res.Spec)
		if res.Detail != "" {
			fmt.Fprintf(&b, "%14s%s\n", "", strings.ReplaceAll(printable(res.Detail), "\n", "\n"+strings.Repeat(" ", 14)))
		}
	}
	fmt.Fprintf(&b, "\n%d passed, %d failed, %d warnings, %d to know, %d skipped\n", sums["pass"], sums["FAIL"], sums["warn"], sums["info"], sums["skip"])
	_, err := io.WriteString(w, b.String())
	return err
}

// printable is text without what could steer a terminal: details quote what the
// server said.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c < ' ' && c != '\n' || c >= 0x7f && c <= 0x9f {
			return '?'
		}
		return c
	}, s)
}

// WriteJSON writes the report for programs: the members are those of [Report],
// and ok.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(struct {
		OK bool `json:"ok"`
		*Report
	}{r.OK(), r})
}
