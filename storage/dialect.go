package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"

	"gorm.io/gorm"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// dialect is what this package has to know about one kind of database. The
// statements elsewhere are written in the common subset, with "?" for bound
// values, "oauthreg_" before every table and index name, and ON CONFLICT DO
// NOTHING for an insert that yields to an existing row; rewrite turns them into
// the database's own.
type dialect struct {
	// name is the gorm dialector's, and the folder below migrations.
	name string
	// rewrite turns a statement of this package into the database's; nil when
	// they are the same.
	rewrite func(string) string
	// contains is a condition that is true when the column has the bound value
	// as a part, byte for byte.
	contains func(column string) string
	// forUpdate ends a SELECT whose rows stay locked until the transaction
	// ends; empty where writers exclude each other anyway.
	forUpdate string
	// tableExists selects one row when the table of the bound name exists.
	tableExists string
	// interruptible says that a statement waits for a network, so that the
	// caller's context must be able to end it.
	interruptible bool

	isDuplicate  func(error) bool // a unique key is taken
	isContention func(error) bool // busy, locked, deadlock: run it again
	isNoTable    func(error) bool // a table or column is missing
	isDown       func(error) bool // beyond what database/sql and net tell
}

// dialects by the name of the gorm dialector.
var dialects = map[string]*dialect{
	"sqlite": {
		name:        "sqlite",
		contains:    func(column string) string { return "instr(" + column + ", ?) > 0" },
		tableExists: "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?",
		isDuplicate: func(err error) bool { return sqliteIs(err, "UNIQUE constraint failed", 2067, 1555, 2579) },
		isContention: func(err error) bool {
			return sqliteIs(err, "database is locked", 5, 6) || sqliteIs(err, "database table is locked")
		},
		isNoTable: func(err error) bool {
			return sqliteIs(err, "no such table") || sqliteIs(err, "has no column named") || sqliteIs(err, "no such column")
		},
		// SQLITE_IOERR, SQLITE_FULL, SQLITE_CANTOPEN, SQLITE_PROTOCOL.
		isDown: func(err error) bool { return sqliteIs(err, "unable to open database file", 10, 13, 14, 15) },
	},
}

// dialectOf returns the dialect of a gorm database.
func dialectOf(db *gorm.DB) (*dialect, error) {
	if db == nil || db.Config == nil || db.Dialector == nil {
		return nil, errors.New("storage: the *gorm.DB is nil or not open")
	}
	if d := dialects[db.Dialector.Name()]; d != nil {
		return d, nil
	}
	return nil, fmt.Errorf("storage: %q databases are not supported", db.Dialector.Name())
}

// sqliteIs reports whether err is one of the SQLite result codes (primary, or
// extended when above 255), or, for drivers that do not tell, has the text.
func sqliteIs(err error, text string, codes ...int) bool {
	if err == nil {
		return false
	}
	if code, ok := sqliteCode(err); ok && len(codes) > 0 {
		for _, c := range codes {
			if code == c || c < 256 && code&0xff == c {
				return true
			}
		}
		return false
	}
	return strings.Contains(err.Error(), text)
}

// sqliteCode is the extended result code an error of a SQLite driver carries.
func sqliteCode(err error) (int, bool) {
	if code, ok := driverCode(err); ok {
		return code, true
	}
	var coder interface{ Code() int } // modernc.org/sqlite and what is made of it
	if errors.As(err, &coder) {
		return coder.Code(), true
	}
	return 0, false
}

// classify gives an error of the database the meaning it has for callers. What
// is not recognized is returned as it is.
func (d *dialect) classify(err error) error {
	var timeout net.Error
	switch {
	case err == nil, errors.Is(err, oauthreg.ErrUnavailable), errors.Is(err, context.Canceled):
		return err
	case errors.Is(err, gorm.ErrDuplicatedKey), d.isDuplicate(err):
		return fmt.Errorf("%w: %w", oauthreg.ErrConflict, err)
	case d.isNoTable(err):
		return fmt.Errorf("the database schema is missing or older than this program; call Store.Migrate: %w", err)
	case d.isContention(err), d.isDown(err),
		errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout),
		errors.Is(err, driver.ErrBadConn), errors.Is(err, sql.ErrConnDone),
		// database/sql has no value for this one.
		strings.HasSuffix(err.Error(), "sql: database is closed"):
		return fmt.Errorf("%w: %w", oauthreg.ErrUnavailable, err)
	}
	return err
}

// defaultPrefix stands before every name in this package's SQL.
const defaultPrefix = "oauthreg_"

// prefixRule keeps a prefix an identifier that needs no quoting anywhere and
// leaves room for the longest name within 63 characters.
var prefixRule = regexp.MustCompile(`^[a-z][a-z0-9_]{0,23}$`)

// statements turns this package's SQL into that of one database and prefix,
// remembering what it made: the set of texts is small.
type statements struct {
	d      *dialect
	prefix string
	done   sync.Map // string -> string
}

func (t *statements) of(query string) string {
	if t.prefix == defaultPrefix && t.d.rewrite == nil {
		return query
	}
	if q, ok := t.done.Load(query); ok {
		return q.(string)
	}
	q := strings.ReplaceAll(query, defaultPrefix, t.prefix)
	if t.d.rewrite != nil {
		q = t.d.rewrite(q)
	}
	t.done.Store(query, q)
	return q
}
