package handlers

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
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
	// appendKey appends everything else that is in the page.
	appendKey(b []byte) []byte
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
	key := p.appendKey(appendTexts(make([]byte, 0, 512), name, lang, sheet))
	o.mu.RLock()
	made := o.made[string(key)]
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
		o.made[string(key)] = made
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

// appendTexts appends texts so that others do not look the same.
func appendTexts(b []byte, texts ...string) []byte {
	for _, text := range texts {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

func appendFlags(b []byte, flags ...bool) []byte {
	for _, flag := range flags {
		if flag {
			b = append(b, 1)
		} else {
			b = append(b, 0)
		}
	}
	return b
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

func (c *ClientView) appendKey(b []byte) []byte {
	b = appendTexts(b, c.ClientID, c.Name, c.Host, c.LogoURI, c.ClientURI, c.TOSURI, c.PolicyURI, c.Logo)
	return appendFlags(b, c.Verified, c.SelfRegistered, c.FirstParty)
}

// gaps is part of [outlined]. What somebody typed is not worth an outline.
func (p LoginPage) gaps() (values [maxGaps]string, ok bool) {
	return [maxGaps]string{p.CSRF, p.Interaction}, standsAsIs(p.CSRF) && standsAsIs(p.Interaction) && p.Username == "" && p.Choose == ""
}

func (p LoginPage) marked(m marks) any {
	p.CSRF, p.Interaction = m[0], m[1]
	return p
}

func (p LoginPage) appendKey(b []byte) []byte {
	b = p.Client.appendKey(b)
	return appendFlags(appendTexts(b, p.Action), p.Failed, p.Throttled, p.Reauthenticate)
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

func (p ConsentPage) appendKey(b []byte) []byte {
	b = p.Client.appendKey(b)
	b = appendTexts(b, p.RedirectHost, p.Action)
	for _, s := range p.Scopes {
		b = appendFlags(appendTexts(append(b, 's'), s.Name, s.Title, s.Description), s.New)
	}
	for _, resource := range p.Resources {
		b = appendTexts(append(b, 'r'), resource)
	}
	return b
}
