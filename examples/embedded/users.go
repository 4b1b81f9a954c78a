package main

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"
	"golang.org/x/crypto/bcrypt"
	"gorm.io/driver/sqlite"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"
)

// user, session and note are the app's own tables.
type user struct {
	ID           string `gorm:"primarykey"` // a UUID: the subject of tokens
	Name         string `gorm:"uniqueIndex;not null"`
	PasswordHash []byte `gorm:"not null"`
	CreatedAt    time.Time
}

type session struct {
	ID        string `gorm:"primarykey"`           // not a credential
	Digest    string `gorm:"uniqueIndex;not null"` // SHA-256 of the cookie
	UserID    string `gorm:"index;not null"`
	User      user
	CreatedAt time.Time
	ExpiresAt time.Time
}

type note struct {
	ID        uint   `gorm:"primarykey"`
	UserID    string `gorm:"index;not null"`
	Text      string `gorm:"not null"`
	CreatedAt time.Time
}

const (
	sessionCookie   = "notes_session"
	sessionLifetime = 7 * 24 * time.Hour
)

// openDatabase opens the app's SQLite file, the way the app would without an
// authorization server: with a busy timeout, and with transactions that take
// their lock at the beginning.
func openDatabase(file string) (*gorm.DB, error) {
	return gorm.Open(sqlite.New(sqlite.Config{
		DriverName: sqliteDriver, DSN: "file:" + file + "?_busy_timeout=10000&_txlock=immediate&_journal_mode=WAL",
	}), &gorm.Config{Logger: logger.Discard, TranslateError: true})
}

var (
	errWrongPassword = errors.New("name or password is wrong")
	errUserTaken     = errors.New("that name is taken")
	errUserRules     = errors.New("a name has 1 to 40 letters, a password 8 to 72 bytes")
)

// signUp makes a user.
func (a *app) signUp(r *http.Request, name, password string) (user, error) {
	if name = strings.TrimSpace(name); name == "" || len(name) > 40 || len(password) < 8 || len(password) > 72 {
		return user{}, errUserRules
	}
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.DefaultCost)
	if err != nil {
		return user{}, err
	}
	u := user{ID: uuid.NewString(), Name: name, PasswordHash: hash}
	if err := a.db.WithContext(r.Context()).Create(&u).Error; errors.Is(err, gorm.ErrDuplicatedKey) ||
		err != nil && strings.Contains(err.Error(), "UNIQUE constraint failed") { // what gorm does not translate of the driver without cgo
		return user{}, errUserTaken
	} else if err != nil {
		return user{}, err
	}
	return u, nil
}

// decoy is compared with when there is no user, so that it takes as long.
var decoy, _ = bcrypt.GenerateFromPassword([]byte("nobody has this"), bcrypt.DefaultCost)

// checkPassword finds the user who has that name and password.
func (a *app) checkPassword(r *http.Request, name, password string) (user, error) {
	u := user{PasswordHash: decoy}
	err := a.db.WithContext(r.Context()).Where("name = ?", strings.TrimSpace(name)).Take(&u).Error
	if err != nil && !errors.Is(err, gorm.ErrRecordNotFound) {
		return user{}, err
	}
	if bcrypt.CompareHashAndPassword(u.PasswordHash, []byte(password)) != nil || err != nil {
		return user{}, errWrongPassword
	}
	return u, nil
}

// startSession signs the user in at the browser, with a new cookie.
func (a *app) startSession(w http.ResponseWriter, r *http.Request, u user) error {
	cookie := rand.Text() + rand.Text()
	s := session{ID: uuid.NewString(), Digest: digest(cookie), UserID: u.ID, ExpiresAt: time.Now().Add(sessionLifetime)}
	if err := a.db.WithContext(r.Context()).Omit("User").Create(&s).Error; err != nil {
		return err
	}
	http.SetCookie(w, &http.Cookie{
		Name: sessionCookie, Value: cookie, Path: "/", HttpOnly: true, SameSite: http.SameSiteLaxMode,
		Secure: strings.HasPrefix(a.origin, "https:"), MaxAge: int(sessionLifetime / time.Second),
	})
	return nil
}

// session is the session of the browser that sent r; nil when there is none.
func (a *app) session(r *http.Request) (*session, error) {
	cookie, err := r.Cookie(sessionCookie)
	if err != nil {
		return nil, nil //nolint:nilerr // no cookie is no session
	}
	var s session
	err = a.db.WithContext(r.Context()).Preload("User").Where("digest = ? AND expires_at > ?", digest(cookie.Value), time.Now()).Take(&s).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return &s, nil
}

func digest(cookie string) string {
	sum := sha256.Sum256([]byte(cookie))
	return hex.EncodeToString(sum[:])
}
