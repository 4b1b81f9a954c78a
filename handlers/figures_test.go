package handlers

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// Figures are those of the last hour, minute by minute, and bounded.
func TestFigures(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	f := NewFigures(func() time.Time { return now })
	hear := func(e oauthreg.Event) { f.Hear(context.Background(), e) }
	served := f.Count(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) }))
	serve := func() {
		w := httptest.NewRecorder()
		served.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
		if w.Code != http.StatusTeapot {
			t.Fatalf("the next handler does not answer: %d", w.Code)
		}
	}
	totals := func() [4]int {
		var out [4]int
		for i, c := range f.lastHour().Charts {
			out[i] = c.Total
		}
		return out
	}
	serve()
	hear(oauthreg.Event{Type: oauthreg.EventTokenIssued})
	hear(oauthreg.Event{Type: oauthreg.EventRefreshed})
	hear(oauthreg.Event{Type: oauthreg.EventSignedIn})
	hear(oauthreg.Event{Type: oauthreg.EventRefused, Error: "invalid_grant"})
	hear(oauthreg.Event{Type: oauthreg.EventFailed, Error: "server_error"})
	hear(oauthreg.Event{Type: oauthreg.EventRefused, Error: "access_denied", Endpoint: "console"})
	hear(oauthreg.Event{Type: oauthreg.EventAuthorized})
	if got := totals(); got != [4]int{1, 2, 1, 2} {
		t.Errorf("got %v", got)
	}
	now = now.Add(59 * time.Minute)
	serve()
	serve()
	hour := f.lastHour()
	if c := hour.Charts[0]; c.Total != 3 || c.Most != 2 || len(c.Bars) != 2 || c.Bars[0].X != 0 || c.Bars[1].Height != chartHeight || c.Bars[0].Y+c.Bars[0].Height != chartHeight {
		t.Errorf("requests: %+v", c)
	}
	if len(hour.Refusals) != 2 || hour.Refusals[0].Name != "invalid_grant" || hour.Refusals[0].Width != 100 {
		t.Errorf("refusals: %+v", hour.Refusals)
	}
	now = now.Add(time.Minute)
	if got := totals(); got != [4]int{2, 0, 0, 0} {
		t.Errorf("after an hour: %v", got)
	}
	for i := range 10 * maxRefusals {
		hear(oauthreg.Event{Type: oauthreg.EventRefused, Error: fmt.Sprint("error ", i)})
	}
	if got := f.lastHour().Refusals; len(got) != maxRefusals+1 || got[0].Name != "other" || totals()[3] != 10*maxRefusals {
		t.Errorf("%d kinds of errors", len(got))
	}
	now = now.Add(24 * time.Hour)
	if got := totals(); got != [4]int{} {
		t.Errorf("a day later: %v", got)
	}
}

// There is never more than a bounded number of sessions, and a full house does not
// keep anybody out.
func TestConsoleSessionsAreBounded(t *testing.T) {
	now := time.Unix(0, 0)
	c := newConsoleSessions(func() time.Time { return now }, time.Hour, 8*time.Hour)
	first := c.start()
	now = now.Add(time.Second)
	second := c.start()
	for range maxConsoleSessions - 2 {
		now = now.Add(time.Millisecond)
		c.start()
	}
	if c.find(first) == nil { // which makes second the one not seen for the longest time
		t.Fatal("pushed out too early")
	}
	last := c.start()
	if len(c.live) != maxConsoleSessions || c.find(second) != nil || c.find(first) == nil || c.find(last) == nil {
		t.Errorf("%d sessions; not the oldest one ended", len(c.live))
	}
	s := c.find(last)
	for i := range maxSpent {
		if !s.spend(fmt.Sprint(i)) {
			t.Fatalf("token %d is not new", i)
		}
	}
	if s.spend("one more") || s.spend("0") {
		t.Error("tokens are not bounded, or count twice")
	}
	s.giveBack("0")
	if !s.spend("0") {
		t.Error("a token that was given back does not count")
	}
}
