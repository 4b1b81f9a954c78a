package handlers

import (
	"context"
	"crypto"
	_ "crypto/sha256" // at_hash
	_ "crypto/sha512"
	"strings"
	"time"

	"github.com/oauthreg/oauthreg/oauthreg"
)

// idToken signs an id_token (OpenID Connect Core §2) for a token response.
func (s *Server) idToken(ctx context.Context, c *oauthreg.Client, session *Session, accessToken string, now time.Time) (string, error) {
	alg := c.IDTokenSignedResponseAlg
	if alg == "" {
		alg = "RS256"
	}
	claims := map[string]any{
		"iss": s.cfg.Issuer,
		"sub": session.Subject,
		"aud": c.ClientID,
		"azp": c.ClientID,
		"iat": now.Unix(),
		"exp": wholeSecond(now.Add(s.lifetimes(c).IDToken)).Unix(),
	}
	if accessToken != "" {
		claims["at_hash"] = halfHash(alg, accessToken)
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
	return s.keys.Sign(ctx, alg, "JWT", claims)
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
