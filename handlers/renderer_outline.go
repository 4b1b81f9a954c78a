package handlers

import (
	"bytes"
	"crypto/rand"
	"html"
	"io"
	"strings"
	"sync"
)

// outlines are pages of a kind that were written before, without what is new in each:
// handles, tokens against forgery and the name of the user. Of the sign-in page and
// the consent page of an application there is the same one again and again, and to
// execute its template is the largest part of what a page costs.
//
// They are made of the built-in templates alone, which do with those values nothing
// but write them; what a host's templates do with them cannot be known.
type outlines struct {
	marks marks
	mu    sync.RWMutex
	made  map[string]*outline
}

// outline is a page with gaps: before[i] comes before the value of gap gaps[i], and
// rest after all of them.
type outline struct {
	before []string
	gaps   []int
	rest   string
}

const (
	maxGaps = 4
	// maxOutlines is how many are kept, of some kilobytes each.
	maxOutlines = 256
)

// marks stand for values while an outline is made. Nobody else knows them, so that
// they are not in any text.
type marks [maxGaps]string

// outlined is a page of which there are outlines.
type outlined interface {
	// gaps are the values that are not in the outline, as they stand in the page;
	// ok is false for a page that needs none.
	gaps() (values [maxGaps]string, ok bool)
	// marked is the page with marks for these values.
	marked(marks) any
	// key writes everything else that is in the page, in one order.
	key(w *tagWriter)
}

func newOutlines() *outlines {
	o := &outlines{made: map[string]*outline{}}
	for i := range o.marks {
		o.marks[i] = rand.Text()
	}
	return o
}

// write writes a page by its outline, which it makes by execute when there is none,
// or reports that the page has no outline.
func (o *outlines) write(to *bytes.Buffer, name, lang, sheet string, page any, execute func(to io.Writer, page any) error) (done bool, err error) {
	p, ok := page.(outlined)
	if !ok {
		return false, nil
	}
	values, ok := p.gaps()
	if !ok {
		return false, nil
	}
	w := tagWriter{make([]byte, 0, 512)}
	w.list('p', []string{name, lang, sheet})
	p.key(&w)
	o.mu.RLock()
	made := o.made[string(w.b)]
	o.mu.RUnlock()
	if made == nil {
		var text strings.Builder
		if err := execute(&text, p.marked(o.marks)); err != nil {
			return false, err
		}
		made = o.cut(text.String())
		o.mu.Lock()
		if len(o.made) >= maxOutlines {
			clear(o.made)
		}
		o.made[string(w.b)] = made
		o.mu.Unlock()
	}
	for i, text := range made.before {
		to.WriteString(text)
		to.WriteString(values[made.gaps[i]])
	}
	to.WriteString(made.rest)
	return true, nil
}

// cut cuts a page at its marks.
func (o *outlines) cut(text string) *outline {
	made := new(outline)
	for {
		at, gap := len(text), -1
		for i, mark := range o.marks {
			if n := strings.Index(text, mark); n >= 0 && n < at {
				at, gap = n, i
			}
		}
		if gap < 0 {
			made.rest = text
			return made
		}
		made.before, made.gaps = append(made.before, text[:at]), append(made.gaps, gap)
		text = text[at+len(o.marks[gap]):]
	}
}

// handleChars are what handles are made of.
const handleChars = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// standsAsIs reports whether v stands as it is in a quoted attribute.
func standsAsIs(v string) bool { return v != "" && strings.Trim(v, handleChars) == "" }

// linkIn is a link as it stands in a quoted attribute; empty if that is not so simple.
func linkIn(v string) string {
	if strings.Trim(v, handleChars+"/?=&") != "" {
		return ""
	}
	return strings.ReplaceAll(v, "&", "&amp;")
}

func (c *ClientView) key(w *tagWriter) {
	w.list('c', []string{c.ClientID, c.Name, c.Host, c.LogoURI, c.ClientURI, c.TOSURI, c.PolicyURI, c.Logo})
	w.flag('v', c.Verified)
	w.flag('s', c.SelfRegistered)
	w.flag('f', c.FirstParty)
}

// gaps is part of [outlined]. What somebody typed is not worth an outline.
func (p LoginPage) gaps() (values [maxGaps]string, ok bool) {
	return [maxGaps]string{p.CSRF, p.Interaction}, standsAsIs(p.CSRF) && standsAsIs(p.Interaction) && p.Username == "" && p.Choose == ""
}

func (p LoginPage) marked(m marks) any {
	p.CSRF, p.Interaction = m[0], m[1]
	return p
}

func (p LoginPage) key(w *tagWriter) {
	p.Client.key(w)
	w.item('a', p.Action)
	w.flag('F', p.Failed)
	w.flag('T', p.Throttled)
	w.flag('R', p.Reauthenticate)
}

// gaps is part of [outlined].
func (p ConsentPage) gaps() (values [maxGaps]string, ok bool) {
	link := linkIn(p.SwitchAccount)
	user := html.EscapeString(pageData{}.Text(p.Username))
	return [maxGaps]string{p.CSRF, p.ConsentToken, link, user}, standsAsIs(p.CSRF) && standsAsIs(p.ConsentToken) && link != "" && user != ""
}

func (p ConsentPage) marked(m marks) any {
	p.CSRF, p.ConsentToken, p.SwitchAccount, p.Username = m[0], m[1], m[2], m[3]
	return p
}

func (p ConsentPage) key(w *tagWriter) {
	p.Client.key(w)
	w.list('a', []string{p.Action, p.RedirectHost})
	for _, scope := range p.Scopes {
		w.list('S', []string{scope.Name, scope.Title, scope.Description})
		w.flag('N', scope.New)
	}
	w.list('r', p.Resources)
}
