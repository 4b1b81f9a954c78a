package handlers

import (
	"context"
	"crypto"
	_ "crypto/sha256" // at_hash
	_ "crypto/sha512"
	"errors"
	"maps"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// idTokenType is typ of ID tokens, by which other JWTs of the server are told
// from them.
const idTokenType = "JWT"

// idTokenFor is what an ID token goes out with.
type idTokenFor struct {
	accessToken string
	code        string   // in the front channel (OpenID Connect Core §3.3.2.11)
	scopes      []string // whose claims it carries: no access token could fetch them (§5.4)
	now         time.Time
}

// idTokenAlg is the algorithm of the client's ID tokens and logout tokens (OpenID
// Connect Registration §2).
func idTokenAlg(c *oauthreg.Client) string {
	if c.IDTokenSignedResponseAlg == "" {
		return "RS256"
	}
	return c.IDTokenSignedResponseAlg
}

// idToken signs an id_token (OpenID Connect Core §2). Beside the protocol's own
// claims it has those that the claims parameter asks for.
func (s *Server) idToken(ctx context.Context, c *oauthreg.Client, session *Session, with idTokenFor) (string, error) {
	alg := idTokenAlg(c)
	claims := map[string]any{}
	if session.Claims != nil || with.scopes != nil {
		var asked map[string]*claimRequest
		if session.Claims != nil {
			asked = session.Claims.IDToken
		}
		known, err := s.claimsOf(ctx, c, session.Subject, with.scopes, asked, session.ClaimsLocales)
		if err != nil {
			if errors.Is(err, oauthreg.ErrNotFound) {
				return "", invalidGrant("The user no longer exists.")
			}
			return "", err
		}
		maps.Copy(claims, known)
	}
	claims["iss"] = s.cfg.Issuer
	claims["sub"] = session.clientSubject()
	claims["aud"], claims["azp"] = c.ClientID, c.ClientID
	claims["iat"] = with.now.Unix()
	claims["exp"] = wholeSecond(with.now.Add(s.lifetimes(c).IDToken)).Unix()
	if with.accessToken != "" {
		claims["at_hash"] = halfHash(alg, with.accessToken)
	}
	if with.code != "" {
		claims["c_hash"] = halfHash(alg, with.code)
	}
	if !session.AuthTime.IsZero() {
		claims["auth_time"] = session.AuthTime.Unix()
	}
	for name, v := range map[string]string{"nonce": session.Nonce, "acr": session.ACR, "sid": session.SessionID} {
		if v != "" {
			claims[name] = v
		}
	}
	if len(session.AMR) > 0 {
		claims["amr"] = session.AMR
	}
	return s.keys.Sign(ctx, alg, idTokenType, claims)
}

// halfHash is at_hash and c_hash: the left half of the hash that alg uses
// (OpenID Connect Core §3.1.3.6). EdDSA hashes with SHA-512.
func halfHash(alg, value string) string {
	hash := crypto.SHA256
	switch {
	case strings.HasSuffix(alg, "384"):
		hash = crypto.SHA384
	case strings.HasSuffix(alg, "512"), alg == "EdDSA":
		hash = crypto.SHA512
	}
	h := hash.New()
	h.Write([]byte(value))
	sum := h.Sum(nil)
	return strictBase64.EncodeToString(sum[:len(sum)/2])
}
