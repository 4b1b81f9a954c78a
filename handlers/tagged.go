package handlers

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// tagWriter writes what the server keeps, in the store mostly: a version, then the members
// that are not zero, each a tag, the length of its value, and the value. A reader
// passes over tags it does not know. Times are nanoseconds since 1970 UTC.
type tagWriter struct{ b []byte }

func (w *tagWriter) item(tag byte, v string) {
	w.b = binary.AppendUvarint(append(w.b, tag), uint64(len(v)))
	w.b = append(w.b, v...)
}

func (w *tagWriter) text(tag byte, v string) {
	if v != "" {
		w.item(tag, v)
	}
}

func (w *tagWriter) flag(tag byte, v bool) {
	if v {
		w.item(tag, "1")
	}
}

// list writes one item for each value.
func (w *tagWriter) list(tag byte, list []string) {
	for _, v := range list {
		w.item(tag, v)
	}
}

// moment writes a time, and what it is the time of, if that is to be told.
func (w *tagWriter) moment(tag byte, t time.Time, of string) {
	if !t.IsZero() {
		w.b = binary.AppendUvarint(append(w.b, tag), uint64(8+len(of)))
		w.b = binary.BigEndian.AppendUint64(w.b, uint64(t.UnixNano()))
		w.b = append(w.b, of...)
	}
}

func (w *tagWriter) claims(tag byte, c *claimsRequest) error {
	if c == nil {
		return nil
	}
	text, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("encode claims parameter: %w", err)
	}
	w.text(tag, string(text))
	return nil
}

var errTagForm = errors.New("what is stored is not of the form that this program writes")

// eachTag calls member for every tag and its value, which it must not keep.
func eachTag(b []byte, version byte, member func(tag byte, v []byte) error) error {
	if len(b) == 0 || b[0] != version {
		return errTagForm
	}
	for b = b[1:]; len(b) > 0; {
		tag := b[0]
		size, n := binary.Uvarint(b[1:])
		if n <= 0 || size > uint64(len(b)-1-n) {
			return errTagForm
		}
		v := b[1+n : 1+n+int(size)]
		b = b[1+n+int(size):]
		if err := member(tag, v); err != nil {
			return err
		}
	}
	return nil
}

func tagMoment(v []byte) (time.Time, error) {
	if len(v) < 8 {
		return time.Time{}, errTagForm
	}
	return time.Unix(0, int64(binary.BigEndian.Uint64(v))).UTC(), nil
}
