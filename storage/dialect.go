package storage

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"

	"github.com/go-sql-driver/mysql"
	"github.com/jackc/pgx/v5/pgconn"
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
	// hasBit is a condition that is true when the binary column has that bit, with
	// what it binds: bit n is 1<<(n%8) of byte n/8.
	hasBit func(column string, bit int) (condition string, args []any)
	// forUpdate ends a SELECT whose rows stay locked until the transaction
	// ends; empty where writers exclude each other anyway.
	forUpdate string
	// forShare ends a SELECT whose rows are not deleted until the transaction ends,
	// by which others are not hindered otherwise.
	forShare string
	// tableExists selects one row when the table of the bound name exists.
	tableExists string
	// tableOptions ends the CREATE TABLE that Migrate itself makes.
	tableOptions string
	// lock lets one process migrate at a time, until unlock is called or the
	// transaction ends; nil where writers exclude each other anyway.
	lock func(ctx context.Context, c conn) (unlock func(), err error)
	// implicitCommit says that data definition ends the transaction it is in.
	implicitCommit bool
	// server says that the database is elsewhere: connections break, and what
	// failed on one may succeed on the next.
	server bool
	// isolation is what the statements need; the zero value is the default.
	isolation sql.IsolationLevel
	// yielded reports whether an insert with ON CONFLICT DO NOTHING found a row
	// in its way, where the count of affected rows does not tell.
	yielded func(sql.Result) (bool, error)
	// takes reports whether a text can be a value of a column; nil: any can.
	takes func(string) bool

	isDuplicate  func(error) bool // a unique key is taken
	isContention func(error) bool // busy, locked, deadlock: run it again
	isNoTable    func(error) bool // a table or column is missing
	isDown       func(error) bool // beyond what database/sql and net tell
	isDone       func(error) bool // this data definition was made before; nil: never
}

// dialects by the name of the gorm dialector.
var dialects = map[string]*dialect{
	"sqlite": {
		name:     "sqlite",
		contains: func(column string) string { return "instr(" + column + ", ?) > 0" },
		hasBit: func(column string, bit int) (string, []any) {
			return "instr(?, substr(" + column + ", ?, 1)) > 0", []any{bytesWithBit[bit%8], int64(bit/8 + 1)}
		},
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
	"postgres": {
		name:     "postgres",
		rewrite:  numbered,
		contains: func(column string) string { return "strpos(" + column + ", ?) > 0" },
		hasBit: func(column string, bit int) (string, []any) {
			return "get_bit(" + column + ", ?) = 1", []any{int64(bit)}
		},
		forUpdate:   " FOR UPDATE",
		forShare:    " FOR KEY SHARE",
		tableExists: "SELECT 1 WHERE to_regclass(?) IS NOT NULL",
		lock:        postgresLock,
		server:      true,
		isolation:   sql.LevelReadCommitted,
		takes:       func(v string) bool { return utf8.ValidString(v) && strings.IndexByte(v, 0) < 0 },
		// https://www.postgresql.org/docs/current/errcodes-appendix.html
		isDuplicate: func(err error) bool { return sqlStateIs(err, "23505") },
		// Serialization failure, deadlock, lock timeout.
		isContention: func(err error) bool { return sqlStateIs(err, "40001", "40P01", "55P03") },
		// Table, column, schema.
		isNoTable: func(err error) bool { return sqlStateIs(err, "42P01", "42703", "3F000") },
		// Connection, authorization, no such database, resources, canceled or
		// shut down, input or output; read-only after a failover.
		isDown: func(err error) bool {
			var connect *pgconn.ConnectError
			return sqlStateIs(err, "08", "28", "3D000", "53", "57", "58", "25006", "40003") ||
				errors.As(err, &connect) || strings.HasSuffix(err.Error(), "conn closed") || isCutOff(err)
		},
	},
	"mysql": {
		name:     "mysql",
		rewrite:  yieldingByKey,
		contains: func(column string) string { return "INSTR(" + column + ", ?) > 0" },
		hasBit: func(column string, bit int) (string, []any) {
			return "ORD(SUBSTR(" + column + ", ?, 1)) & ? > 0", []any{int64(bit/8 + 1), int64(1) << (bit % 8)}
		},
		forUpdate:      " FOR UPDATE",
		forShare:       " LOCK IN SHARE MODE",
		tableExists:    "SELECT 1 FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name = ?",
		tableOptions:   " ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin",
		lock:           mysqlLock,
		implicitCommit: true,
		server:         true,
		isolation:      sql.LevelReadCommitted,
		yielded:        mysqlYielded,
		takes:          utf8.ValidString,
		// https://mariadb.com/docs/server/reference/error-codes
		isDuplicate: func(err error) bool { return mysqlIs(err, 1062, 1586) },
		// Deadlock, lock timeouts, a row that is newer than the snapshot.
		isContention: func(err error) bool { return mysqlIs(err, 1213, 1205, 3572, 1020) },
		isNoTable:    func(err error) bool { return mysqlIs(err, 1146, 1054) },
		isDown: func(err error) bool {
			return errors.Is(err, mysql.ErrInvalidConn) || isCutOff(err) || mysqlIs(err,
				1044, 1045, 1049, 1698, // who, and which database
				1040, 1203, 1226, 1037, 1038, 1041, 1021, // connections, memory, disk
				1053, 1077, 1079, 1152, 1158, 1159, 1160, 1161, 1184, 1317, 1927, 1969, 3024, // ended by somebody
				1290, 1792, 1836, 1047, // read-only after a failover, cluster not ready
			)
		},
		// Table, column or key exists; nothing there to drop.
		isDone: func(err error) bool { return mysqlIs(err, 1050, 1060, 1061, 1091) },
	},
}

// bytesWithBit are the bytes that have a bit. SQLite has no number for a byte, but
// finds it among others.
var bytesWithBit = func() (with [8][]byte) {
	for b := range 256 {
		for bit := range with {
			if b>>bit&1 == 1 {
				with[bit] = append(with[bit], byte(b))
			}
		}
	}
	return with
}()

// numbered turns "?" into "$1", "$2" and so on. No statement of this package
// has a question mark that is not a bound value.
func numbered(query string) string {
	var b strings.Builder
	for n := 1; ; n++ {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		b.WriteString("$" + strconv.Itoa(n))
		query = after
	}
}

// sqlStateIs reports whether err has an SQLSTATE that begins with one of codes.
// Both PostgreSQL drivers for database/sql tell it in this way.
func sqlStateIs(err error, codes ...string) bool {
	var state interface{ SQLState() string }
	if !errors.As(err, &state) {
		return false
	}
	for _, c := range codes {
		if strings.HasPrefix(state.SQLState(), c) {
			return true
		}
	}
	return false
}

func mysqlIs(err error, numbers ...uint16) bool {
	var e *mysql.MySQLError
	return errors.As(err, &e) && slices.Contains(numbers, e.Number)
}

// isCutOff reports whether a connection ended in the middle of something.
func isCutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed)
}

const onConflict = " ON CONFLICT DO NOTHING"

// yieldingByKey writes an insert that yields to an existing row for MySQL. Not
// as INSERT IGNORE, which also cuts off what is too long. The row that is in
// the way is locked, but not changed: assigning a column to itself would not
// tell whether that happened when the connection counts matched rows instead
// of changed ones, so the statement's insert id says it; see mysqlYielded.
func yieldingByKey(query string) string {
	if !strings.HasSuffix(query, onConflict) {
		return query
	}
	into, columns, _ := strings.Cut(query, "(")
	column, _, _ := strings.Cut(columns, ",")
	// With the table's name: what is selected from may have such a column too.
	table := strings.TrimSpace(strings.TrimPrefix(into, "INSERT INTO "))
	return fmt.Sprintf("%s ON DUPLICATE KEY UPDATE %[2]s = IF(LAST_INSERT_ID(%[3]d) = 0, %[2]s, %[2]s)",
		strings.TrimSuffix(query, onConflict), table+"."+strings.TrimSpace(column), insertYielded)
}

// insertYielded is the insert id of an insert that yielded. No table has
// generated ids.
const insertYielded = 1

func mysqlYielded(res sql.Result) (bool, error) {
	id, err := res.LastInsertId()
	return id == insertYielded, err
}

// migrationLock is the name of the lock that Migrate holds on a server.
const migrationLock = "oauthreg migrate "

func postgresLock(ctx context.Context, c conn) (func(), error) {
	name := fnv.New64a()
	name.Write([]byte(migrationLock + c.sql.prefix))
	// Ends with the transaction.
	return func() {}, c.each(ctx, "SELECT pg_advisory_xact_lock(?)", []any{int64(name.Sum64())}, func(func(...any) error) error { return nil })
}

// mysqlLockWait is how many seconds Migrate waits for another process.
const mysqlLockWait = 600

func mysqlLock(ctx context.Context, c conn) (func(), error) {
	// The names are one namespace per server and have at most 64 characters.
	const name = "CONCAT('" + migrationLock + "', MD5(CONCAT(DATABASE(), '/', ?)))"
	var got sql.NullInt64
	_, err := c.one(ctx, "SELECT GET_LOCK("+name+", ?)", []any{c.sql.prefix, mysqlLockWait}, &got)
	if err != nil {
		return nil, err
	}
	if got.Int64 != 1 {
		return nil, fmt.Errorf("%w: another process has been migrating for %d seconds", oauthreg.ErrUnavailable, mysqlLockWait)
	}
	return func() {
		// It also ends with the connection.
		_ = c.each(context.WithoutCancel(ctx), "SELECT RELEASE_LOCK("+name+")", []any{c.sql.prefix}, func(func(...any) error) error { return nil })
	}, nil
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
	if err == nil {
		return nil
	}
	var timeout net.Error
	switch {
	case errors.Is(err, oauthreg.ErrUnavailable), errors.Is(err, context.Canceled):
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
// remembering what it made.
type statements struct {
	d      *dialect
	prefix string
	done   sync.Map     // string -> string
	made   atomic.Int64 // how many are in done, about

	telemetry *telemetry // nil: none
}

func newStatements(d *dialect, cfg *Config) (*statements, error) {
	t, err := newTelemetry(cfg, d)
	if err != nil {
		return nil, fmt.Errorf("storage: metrics: %w", err)
	}
	return &statements{d: d, prefix: cfg.TablePrefix, telemetry: t}, nil
}

// maxTexts bounds the texts that are remembered. The store's own are about 200;
// those of listings vary with their filters and limits, in any number.
const maxTexts = 1024

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
	if t.made.Add(1) > maxTexts {
		t.done.Clear()
		t.made.Store(1)
	}
	t.done.Store(query, q)
	return q
}
