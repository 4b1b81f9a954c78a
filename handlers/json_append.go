package handlers

import (
	"encoding/json"
	"strconv"
	"time"
)

// jsonAppender is an answer that writes itself, as encoding/json would, but without
// reflection: those of the endpoints that are asked for every token, and pages of
// clients.
type jsonAppender interface{ appendJSON(b []byte) []byte }

// jsonObject writes the members of an object. A zero number is left out, as
// omitempty does.
type jsonObject struct {
	b     []byte
	empty bool
}

func beginObject(b []byte) *jsonObject { return &jsonObject{append(b, '{'), true} }

func (o *jsonObject) end() []byte { return append(o.b, '}') }

// name begins a member. Names are ours, and need no escaping.
func (o *jsonObject) name(name string) {
	if !o.empty {
		o.b = append(o.b, ',')
	}
	o.empty = false
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, `":`...)
}

func (o *jsonObject) text(name, v string) {
	o.name(name)
	o.b = appendText(o.b, v)
}

func (o *jsonObject) optional(name, v string) {
	if v != "" {
		o.text(name, v)
	}
}

func (o *jsonObject) number(name string, v int64) {
	if v != 0 {
		o.name(name)
		o.b = strconv.AppendInt(o.b, v, 10)
	}
}

// count is a number that is there when it is zero, too.
func (o *jsonObject) count(name string, v int) {
	o.name(name)
	o.b = strconv.AppendInt(o.b, int64(v), 10)
}

// nullable is a text, or null.
func (o *jsonObject) nullable(name string, v *string) {
	o.name(name)
	if v == nil {
		o.b = append(o.b, "null"...)
		return
	}
	o.b = appendText(o.b, *v)
}

// time is in the form of RFC 3339, of years with four digits.
func (o *jsonObject) time(name string, t time.Time) {
	o.name(name)
	o.b = append(o.b, '"')
	o.b = t.AppendFormat(o.b, time.RFC3339Nano)
	o.b = append(o.b, '"')
}

func (o *jsonObject) bool(name string, v bool) {
	o.name(name)
	o.b = strconv.AppendBool(o.b, v)
}

func (o *jsonObject) list(name string, list []string) {
	o.name(name)
	if list == nil {
		o.b = append(o.b, "null"...)
		return
	}
	o.b = append(o.b, '[')
	for i, v := range list {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendText(o.b, v)
	}
	o.b = append(o.b, ']')
}

// appendText writes a JSON string.
func appendText(b []byte, v string) []byte {
	for i := range len(v) {
		switch c := v[i]; {
		case c < ' ', c > '~', c == '"', c == '\\', c == '<', c == '>', c == '&':
			quoted, _ := json.Marshal(v) // a string always has a form
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, v...)
	return append(b, '"')
}
