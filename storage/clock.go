package storage

import (
	"database/sql"
	"math"
	"time"
)

// never is stored for an end that does not come: it compares as later than any time.
const never = math.MaxInt64

// micros is the stored form of t.
func micros(t time.Time) int64 { return t.UnixMicro() }

// expiry is the stored form of an end; the zero time never comes.
func expiry(t time.Time) int64 {
	if t.IsZero() {
		return never
	}
	return t.UnixMicro()
}

// maybe is the stored form of a time that need not be set: NULL when zero.
func maybe(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t.UnixMicro()
}

// fromMicros turns a stored time or end back; never is the zero time.
func fromMicros(v int64) time.Time {
	if v == never {
		return time.Time{}
	}
	return time.UnixMicro(v).UTC()
}

// fromMaybe turns a column written by maybe back.
func fromMaybe(v sql.NullInt64) time.Time {
	if !v.Valid {
		return time.Time{}
	}
	return fromMicros(v.Int64)
}
