package conformance

import (
	"context"
	"testing"
	"time"
)

// Test checks a server in a Go test, with a subtest for each check. What is
// SHOULD is logged when it fails, unless cfg.Strict; what is MAY is always just
// logged. The checks run one after another.
func Test(t *testing.T, cfg Config) {
	t.Helper()
	r, err := newRun(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	r.prepare(ctx)
	// t.Context ends before cleanups run.
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		r.cleanUp(ctx)
	})
	for _, c := range checks {
		if !r.chosen(c) {
			continue
		}
		t.Run(c.Name, func(t *testing.T) {
			res := r.run(ctx, c)
			switch {
			case res.counts(cfg.Strict):
				t.Errorf("%s (%s): %s: %s", c.Title, c.Spec, c.Level, printable(res.Detail))
			case res.Outcome == Skip:
				t.Skip(printable(res.Detail))
			case res.Outcome == Fail:
				t.Logf("%s (%s): only %s: %s", c.Title, c.Spec, c.Level, printable(res.Detail))
			case res.Detail != "":
				t.Log(printable(res.Detail))
			}
		})
	}
}
