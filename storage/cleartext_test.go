package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ory/fosite"
	"github.com/ory/fosite/handler/openid"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// foreignClient is a fosite.Client that knows nothing but its client_id.
type foreignClient struct{ id string }

func (k foreignClient) GetID() string                    { return k.id }
func (foreignClient) GetHashedSecret() []byte            { return nil }
func (foreignClient) GetRedirectURIs() []string          { return nil }
func (foreignClient) GetGrantTypes() fosite.Arguments    { return nil }
func (foreignClient) GetResponseTypes() fosite.Arguments { return nil }
func (foreignClient) GetScopes() fosite.Arguments        { return nil }
func (foreignClient) IsPublic() bool                     { return false }
func (foreignClient) GetAudience() fosite.Arguments      { return nil }

// Nothing that opens a door stands in the database in clear, neither in a
// column nor anywhere in its files; and what is a credential of a form is not
// stored at all.
func TestNothingSecretInClear(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	s := openPath(t, path, testConfig(c))
	ctx := t.Context()
	k := addClient(t, s)

	secrets := map[string]string{} // name -> value
	secret := func(name string) string {
		secrets[name] = unique("SECRET-" + name)
		return secrets[name]
	}
	r := newRequest(s, k)
	for name := range neverStored {
		r.Form.Set(name, secret("form "+name))
	}
	r.Form.Set("nonce", secret("nonce"))
	session := r.Session.(*openid.DefaultSession)
	session.Username = secret("username")
	session.Claims.Extra = map[string]any{"claim": secret("claim")}

	codeSig := secret("code signature")
	code := secret("code") + "." + codeSig
	secrets["whole code"] = code
	must(t, s.CreateAuthorizeCodeSession(ctx, codeSig, r))
	must(t, s.CreatePKCERequestSession(ctx, codeSig, r))
	must(t, s.CreateOpenIDConnectSession(ctx, code, r))
	accessSig := secret("access signature")
	must(t, s.CreateAccessTokenSession(ctx, accessSig, r))
	must(t, s.CreateRefreshTokenSession(ctx, secret("refresh signature"), accessSig, r))
	must(t, s.SetClientAssertionJWT(ctx, secret("jti"), c.now().Add(time.Hour)))
	i := oauthreg.Interaction{Handle: secret("interaction handle"), Browser: secret("browser"), Request: []byte(secret("interaction request")), ExpiresAt: c.now().Add(time.Hour)}
	must(t, s.CreateInteraction(ctx, i))
	must(t, s.UpdateInteraction(ctx, i))
	must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{UserAgent: secret("user agent"), Login: oauthreg.Login{Subject: "alice", SessionID: "sid"}, Handle: secret("cookie")}))
	must(t, s.UpdateSigningKeys(ctx, func([]oauthreg.SigningKey) (add, replace []oauthreg.SigningKey, err error) {
		return []oauthreg.SigningKey{{KeyID: "kid", Alg: "RS256", Private: []byte(secret("private key"))}}, nil, nil
	}))

	// The forms do not have them even when they are opened.
	for what, get := range map[string]func() (fosite.Requester, error){
		"code":   func() (fosite.Requester, error) { return s.GetAuthorizeCodeSession(ctx, codeSig, nil) },
		"pkce":   func() (fosite.Requester, error) { return s.GetPKCERequestSession(ctx, codeSig, nil) },
		"openid": func() (fosite.Requester, error) { return s.GetOpenIDConnectSession(ctx, code, nil) },
		"access": func() (fosite.Requester, error) { return s.GetAccessTokenSession(ctx, accessSig, nil) },
	} {
		got, err := get()
		must(t, err)
		for name := range neverStored {
			if got.GetRequestForm().Has(name) {
				t.Errorf("%s: the form has %s", what, name)
			}
		}
		if !got.GetRequestForm().Has("redirect_uri") {
			t.Errorf("%s: the form lacks redirect_uri", what)
		}
	}

	text := dump(t, s)
	files, err := filepath.Glob(path + "*")
	must(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		must(t, err)
		text += string(b)
	}
	for name, value := range secrets {
		for form, v := range map[string]string{
			"in clear":  value,
			"in hex":    hex.EncodeToString([]byte(value)),
			"in base64": base64.RawStdEncoding.EncodeToString([]byte(value)),
		} {
			if strings.Contains(text, v) {
				t.Errorf("%s stands in the database %s", name, form)
			}
		}
	}
	// The test can find something.
	sum := sha256.Sum256([]byte(accessSig))
	if !strings.Contains(text, string(sum[:])) || !strings.Contains(text, "kid") {
		t.Error("the dump does not contain what is stored")
	}
}

// dump is every value of every column of every table.
func dump(t *testing.T, s *Store) string {
	t.Helper()
	var b bytes.Buffer
	must(t, s.db.read(t.Context(), func(ctx context.Context, c conn) error {
		var tables []string
		err := c.each(ctx, "SELECT name FROM sqlite_master WHERE type = 'table'", nil, func(scan func(...any) error) error {
			var name string
			err := scan(&name)
			tables = append(tables, name)
			return err
		})
		if err != nil {
			return err
		}
		if len(tables) < 14 {
			t.Errorf("got tables %v", tables)
		}
		for _, table := range tables {
			rows, err := c.pool.QueryContext(ctx, "SELECT * FROM "+table)
			if err != nil {
				return err
			}
			defer rows.Close()
			columns, err := rows.Columns()
			if err != nil {
				return err
			}
			for rows.Next() {
				values, dest := make([]any, len(columns)), make([]any, len(columns))
				for i := range values {
					dest[i] = &values[i]
				}
				if err := rows.Scan(dest...); err != nil {
					return err
				}
				for _, v := range values {
					if raw, ok := v.([]byte); ok {
						b.Write(raw)
					} else {
						fmt.Fprint(&b, v)
					}
					b.WriteByte('\n')
				}
			}
			if err := rows.Err(); err != nil {
				return err
			}
		}
		return nil
	}))
	return b.String()
}
