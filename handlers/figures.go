package handlers

import (
	"cmp"
	"context"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	figureMinutes = 60
	maxRefusals   = 32 // kinds of errors told apart in a minute
)

// Figures counts what happens, minute by minute for the last hour, in memory and
// of bounded size, for [Server.Console] to draw. It hears of everything through
// two hooks:
//
//	figures := handlers.NewFigures(nil)
//	cfg.Events = figures.Hear
//	mux.Handle("/", figures.Count(server))
//
// It is safe for concurrent use.
type Figures struct {
	now func() time.Time

	mu      sync.Mutex
	minutes [figureMinutes]figure
}

// figure is what happened in one minute.
type figure struct {
	minute   int64 // since 1970; tells this hour's from an earlier one's
	requests int
	tokens   int
	signIns  int
	refusals map[string]int // by OAuth error
}

// NewFigures returns figures that are all zero. now is the clock; nil means
// time.Now.
func NewFigures(now func() time.Time) *Figures {
	if now == nil {
		now = time.Now
	}
	return &Figures{now: now}
}

// Hear is an [oauthreg.EventFunc].
func (f *Figures) Hear(_ context.Context, e oauthreg.Event) {
	if e.Endpoint == "console" { // whoever looks is not counted
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	m := f.current()
	switch e.Type {
	case oauthreg.EventTokenIssued, oauthreg.EventRefreshed:
		m.tokens++
	case oauthreg.EventSignedIn:
		m.signIns++
	case oauthreg.EventRefused, oauthreg.EventFailed:
		if m.refusals == nil {
			m.refusals = map[string]int{}
		}
		code := e.Error
		if _, known := m.refusals[code]; !known && len(m.refusals) >= maxRefusals {
			code = "other"
		}
		m.refusals[code]++
	}
}

// Count counts the requests that next answers.
func (f *Figures) Count(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.mu.Lock()
		f.current().requests++
		f.mu.Unlock()
		next.ServeHTTP(w, r)
	})
}

// current is the minute that it is; the caller has the lock.
func (f *Figures) current() *figure {
	minute := f.now().Unix() / 60
	m := &f.minutes[minute%figureMinutes]
	if m.minute != minute {
		*m = figure{minute: minute}
	}
	return m
}

// chart is a row of bars, one for each minute, oldest first.
type chart struct {
	Title, Unit string
	Total, Most int
	Bars        []bar
}

// bar is a rectangle in a drawing of chartWidth by chartHeight.
type bar struct{ X, Y, Width, Height int }

const (
	chartStep   = 6
	chartHeight = 64
)

// Width and Height are those of the drawing.
func (chart) Width() int  { return figureMinutes * chartStep }
func (chart) Height() int { return chartHeight }

// share is a part of a whole, drawn as a bar.
type share struct {
	Name  string
	Count int
	Width int // of 100
}

// figuresPage is the last hour as the console shows it.
type figuresPage struct {
	Charts   []chart
	Refusals []share // most frequent first
}

func (f *Figures) lastHour() figuresPage {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.now().Unix() / 60
	var requests, tokens, signIns, refused [figureMinutes]int
	codes := map[string]int{}
	for i := range figureMinutes {
		minute := now - figureMinutes + 1 + int64(i)
		m := &f.minutes[minute%figureMinutes]
		if m.minute != minute {
			continue
		}
		requests[i], tokens[i], signIns[i] = m.requests, m.tokens, m.signIns
		for code, n := range m.refusals {
			codes[code] += n
			refused[i] += n
		}
	}
	page := figuresPage{Charts: []chart{
		newChart("Requests", "requests", requests[:]),
		newChart("Access tokens issued", "tokens", tokens[:]),
		newChart("Sign-ins", "sign-ins", signIns[:]),
		newChart("Refusals", "refusals", refused[:]),
	}}
	most := 0
	for code, n := range codes {
		page.Refusals = append(page.Refusals, share{Name: code, Count: n})
		most = max(most, n)
	}
	for i := range page.Refusals {
		page.Refusals[i].Width = max(1, 100*page.Refusals[i].Count/most)
	}
	slices.SortFunc(page.Refusals, func(a, b share) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), cmp.Compare(a.Name, b.Name))
	})
	return page
}

func newChart(title, unit string, counts []int) chart {
	c := chart{Title: title, Unit: unit}
	for _, n := range counts {
		c.Total += n
		c.Most = max(c.Most, n)
	}
	for i, n := range counts {
		if n == 0 {
			continue
		}
		height := max(2, n*chartHeight/c.Most)
		c.Bars = append(c.Bars, bar{X: i * chartStep, Y: chartHeight - height, Width: chartStep - 1, Height: height})
	}
	return c
}
