package conformance

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/go-jose/go-jose/v4"
)

func (r *run) resource() (string, error) {
	if r.cfg.Resource == "" {
		return "", skip("needs a resource (Config.Resource)")
	}
	return r.cfg.Resource, nil
}

// resourceToken asks for a token with resource, by whatever grant there is. The
// answer is nil when authorize refused already.
func (r *run) resourceToken(ctx context.Context, resource string) (*Client, *answer, string, error) {
	if r.machine != nil {
		a, err := r.machineToken(ctx, "resource", resource)
		return r.machine, a, "", err
	}
	v, err := r.walk(ctx, "resource", resource)
	if err != nil {
		return nil, nil, "", err
	}
	if v.params.Get("code") == "" {
		return v.client, nil, v.params.Get("error"), nil
	}
	a, err := r.token(ctx, v.client, v.redemption("resource", resource))
	return v.client, a, "", err
}

func resourceAudience(ctx context.Context, r *run) error {
	resource, err := r.resource()
	if err != nil {
		return err
	}
	c, a, refused, err := r.resourceToken(ctx, resource)
	if err != nil {
		return err
	}
	if a == nil {
		return fmt.Errorf("authorize said %q to the resource %s", refused, resource)
	}
	if err := a.hasToken(); err != nil {
		return err
	}
	token := a.json.text("access_token")
	var aud []string
	if _, err := jose.ParseSignedCompact(token, publicAlgs); err == nil {
		claims, _, err := r.verify(ctx, token)
		if err != nil {
			return err
		}
		aud = claims.audience("aud")
	} else {
		if c.public() || !r.offers("introspection_endpoint") {
			return skip("needs introspection, or a JWT, to see what the token is for")
		}
		if a, err = r.introspect(ctx, c, token); err != nil {
			return err
		}
		if !a.json.yes("active") {
			return skip("the server does not show the client what its token is for")
		}
		aud = a.json.audience("aud")
	}
	if !slices.Contains(aud, resource) {
		return fmt.Errorf("got aud %q, want %q", aud, resource)
	}
	return nil
}

// refusedResource checks that a resource is refused by whichever endpoint.
func refusedResource(resources ...string) tryFunc {
	return func(ctx context.Context, r *run) error {
		if _, err := r.resource(); err != nil {
			return err
		}
		for _, resource := range resources {
			_, a, refused, err := r.resourceToken(ctx, resource)
			switch {
			case err != nil:
				return err
			case a == nil && refused == "invalid_target":
			case a == nil:
				return fmt.Errorf("authorize said %q to the resource %s, want invalid_target", refused, resource)
			default:
				if err := a.refused("invalid_target"); err != nil {
					return fmt.Errorf("the resource %s: %w", resource, err)
				}
			}
		}
		return nil
	}
}

var (
	resourceUnknown   = refusedResource("https://unknown.conformance.example/api")
	resourceMalformed = refusedResource("/relative", "https://unknown.conformance.example/api#fragment")
)

// resourceMetadataURL is where RFC 9728 §3.1 puts the metadata of a resource.
func resourceMetadataURL(resource string) (string, error) {
	u, err := url.Parse(resource)
	if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return "", skipf("the resource %s is no http or https URL", resource)
	}
	if u.Scheme == "http" && !loopback(u.Hostname()) {
		return "", skipf("the resource %s is not https", resource)
	}
	where := u.Scheme + "://" + u.Host + "/.well-known/oauth-protected-resource" + strings.TrimSuffix(u.EscapedPath(), "/")
	if u.RawQuery != "" {
		where += "?" + u.RawQuery
	}
	return where, nil
}

func protectedResourceMetadata(ctx context.Context, r *run) error {
	resource, err := r.resource()
	if err != nil {
		return err
	}
	where, err := resourceMetadataURL(resource)
	if err != nil {
		return err
	}
	a, err := r.get(ctx, where, "Accept", jsonType)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusNotFound:
		return skipf("not offered: %s", where)
	case a.status != http.StatusOK:
		return fmt.Errorf("%s: got %v, want status 200", where, a)
	case a.isJSON() != nil:
		return a.isJSON()
	}
	if got := a.json.text("resource"); got != resource {
		return fmt.Errorf("got resource %q, want %q", got, resource)
	}
	if servers := a.json.list("authorization_servers"); a.json.has("authorization_servers") && !slices.Contains(servers, r.cfg.Issuer) {
		return fmt.Errorf("got authorization_servers %q, want %q in it", servers, r.cfg.Issuer)
	}
	return nil
}

func protectedResourceChallenge(ctx context.Context, r *run) error {
	resource, err := r.resource()
	if err != nil {
		return err
	}
	if _, err := resourceMetadataURL(resource); err != nil {
		return err
	}
	a, err := r.get(ctx, resource)
	switch {
	case err != nil:
		return err
	case a.status == http.StatusNotFound || a.status == http.StatusMethodNotAllowed:
		return skipf("nothing answers GET %s itself", resource)
	case a.status != http.StatusUnauthorized:
		return fmt.Errorf("got %v without a token, want status 401", a)
	}
	params, err := a.challenged("Bearer")
	if err != nil {
		return err
	}
	if !strings.Contains(params, "resource_metadata=") {
		return errors.New("the challenge does not say resource_metadata: clients cannot find the authorization server")
	}
	return nil
}
