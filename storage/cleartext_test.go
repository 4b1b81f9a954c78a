package storage

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
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

// Nothing that opens a door, and nothing that tells of a person but the subjects
// that grants, consents and sign-ins are found by, stands in the database in clear,
// neither in a column nor anywhere in its files; and what is a credential of a form
// is not stored at all.
func TestNothingSecretInClear(t *testing.T) {
	c := newClock()
	path := filepath.Join(t.TempDir(), "auth.db")
	s := openPath(t, path, testConfig(c))
	ctx := t.Context()
	k := addClient(t, s)

	secrets := map[string]string{} // name -> value
	secret := func(name string) string {
		value := unique("SECRET-" + name)
		secrets[fmt.Sprint(name, " ", len(secrets))] = value
		return value
	}
	r := newRequest(s, k)
	for name := range neverStored {
		r.Form.Set(name, secret("form "+name))
	}
	r.Form.Set("nonce", secret("nonce"))
	session := r.Session.(*openid.DefaultSession)
	session.Username = secret("username")
	session.Subject = secret("subject of a token")
	session.Claims.Extra = map[string]any{"claim": secret("claim")}

	// A code of which there is no grant makes one, with a subject.
	must(t, s.CreateGrant(ctx, oauthreg.Grant{ID: r.ID, ClientID: k.RegistryID(), Subject: "alice", ExpiresAt: c.now().Add(time.Hour)}))
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
	i := oauthreg.Interaction{Subject: secret("subject of a request"), Handle: secret("interaction handle"), Browser: secret("browser"), Request: []byte(secret("interaction request")), ExpiresAt: c.now().Add(time.Hour)}
	must(t, s.CreateInteraction(ctx, i))
	i.Subject = secret("subject of a later request")
	must(t, s.UpdateInteraction(ctx, i))
	must(t, s.CreateLoginSession(ctx, oauthreg.LoginSession{
		UserAgent: secret("user agent"), Handle: secret("cookie"),
		Login: oauthreg.Login{Subject: "alice", SessionID: "sid", AMR: []string{secret("amr"), secret("amr 2")}, ACR: secret("acr")},
	}))
	for _, member := range []oauthreg.SessionMember{
		{SessionID: "sid", ClientID: "a", Subject: secret("subject of a member"), ClientSubject: secret("pairwise subject of a member")},
		{SessionID: "sid", ClientID: "a", Subject: secret("subject of a member again"), ClientSubject: secret("pairwise subject of a member again")},
		{SessionID: "ended", ClientID: "a", Subject: secret("subject of a notice"), ClientSubject: secret("pairwise subject of a notice")},
		{SessionID: "ended", ClientID: "b", Subject: secret("subject of another notice")},
	} {
		must(t, s.JoinSession(ctx, member))
	}
	must(t, s.EndSession(ctx, "ended", c.now()))
	person := oauthreg.Record{Client: oauthreg.Client{
		ID: "person", ClientID: "person", Name: "Person", UserID: secret("user"), Contacts: []string{secret("mail") + "@mail.example", secret("mail 2") + "@mail.example"},
	}}
	by := oauthreg.Actor{Kind: "user", ID: secret("actor"), Address: secret("address")}
	told := func() []byte {
		b, err := json.Marshal(map[string]any{"contacts": []string{secret("mail in the audit log") + "@mail.example"}, "name": "Person", "user_id": secret("user in the audit log")})
		must(t, err)
		return b
	}
	must(t, s.InsertClient(ctx, person, oauthreg.AuditRecord{Action: "client.registered", Actor: by, After: told()}))
	must(t, s.UpdateClient(ctx, oauthreg.ByID("person"), func(rec *oauthreg.Record) (*oauthreg.AuditRecord, error) {
		rec.Client.Contacts[0] = secret("changed mail") + "@mail.example"
		return &oauthreg.AuditRecord{Action: "client.updated", Actor: by, Before: told(), After: told()}, nil
	}))
	must(t, s.CreateInitialAccessToken(ctx, oauthreg.InitialAccessToken{ID: "permission", Digest: []byte{1}, UserID: secret("user of a permission")}))
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
	if !strings.Contains(text, string(sum[:])) || !strings.Contains(text, "kid") || !strings.Contains(text, `"name":"Person"`) {
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
