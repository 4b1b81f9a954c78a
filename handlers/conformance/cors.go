package conformance

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// corsOf asks like a browser application of another origin, and returns the
// endpoints that it may read.
func corsEndpoints(ctx context.Context, r *run) error {
	const origin = "https://conformance.example"
	var open, closed []string
	for _, name := range []string{"token_endpoint", "userinfo_endpoint", "revocation_endpoint", "jwks_uri"} {
		endpoint := r.meta.text(name)
		if endpoint == "" {
			continue
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodOptions, endpoint, nil)
		if err != nil {
			return err
		}
		req.Header.Set("Origin", origin)
		req.Header.Set("Access-Control-Request-Method", http.MethodPost)
		req.Header.Set("Access-Control-Request-Headers", "authorization")
		a, err := r.send(req)
		if err != nil {
			return err
		}
		switch allowed := a.header.Get("Access-Control-Allow-Origin"); {
		case allowed == origin && strings.EqualFold(a.header.Get("Access-Control-Allow-Credentials"), "true"):
			return fmt.Errorf("%s: any origin may call it with the user's cookies", name)
		case allowed == "*", allowed == origin:
			open = append(open, name)
		default:
			closed = append(closed, name)
		}
	}
	return notef("browser applications of any origin may call %s; not: %s", list(open), list(closed))
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return strings.Join(names, ", ")
}
