package handlers

import (
	"context"
	"errors"
	"time"

	attr "go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/oauthreg/oauthreg/oauthreg"
)

const (
	attrKind    = attr.Key("oauthreg.kind")
	attrSuccess = attr.Key("oauthreg.success")
	attrAlg     = attr.Key("oauthreg.key.alg")
	attrState   = attr.Key("oauthreg.key.state")
)

// meters are the instruments. No attribute has more values than we know
// beforehand: nothing that a stranger sends becomes a time series.
type meters struct {
	requestDuration metric.Float64Histogram
	outbound        metric.Float64Histogram

	tokens      metric.Int64Counter
	authorized  metric.Int64Counter
	refusals    metric.Int64Counter
	replays     metric.Int64Counter
	limited     metric.Int64Counter
	revocations metric.Int64Counter
	unproven    metric.Int64Counter
	signIns     metric.Int64Counter
	consents    metric.Int64Counter
}

// secondsBuckets are those that the conventions advise for durations of HTTP.
var secondsBuckets = metric.WithExplicitBucketBoundaries(0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

func (m *meters) make(meter metric.Meter, keys *oauthreg.KeyRing, now func() time.Time) error {
	var errs []error
	histogram := func(name, description string) metric.Float64Histogram {
		h, err := meter.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(description), secondsBuckets)
		errs = append(errs, err)
		return h
	}
	counter := func(name, unit, description string) metric.Int64Counter {
		c, err := meter.Int64Counter(name, metric.WithUnit(unit), metric.WithDescription(description))
		errs = append(errs, err)
		return c
	}
	m.requestDuration = histogram("http.server.request.duration", "Duration of requests, by endpoint and result.")
	m.outbound = histogram("http.client.request.duration", "Duration of requests to URLs that clients named, until the header of the answer.")
	m.tokens = counter("oauthreg.tokens.issued", "{token}", "Access tokens issued, by grant type.")
	m.authorized = counter("oauthreg.authorizations", "{authorization}", "Authorization requests answered with a code or tokens, by response type.")
	m.refusals = counter("oauthreg.refusals", "{request}", "Requests refused with an OAuth error, by endpoint and code.")
	m.replays = counter("oauthreg.replays", "{replay}", "Codes and refresh tokens that came again.")
	m.limited = counter("oauthreg.limited", "{request}", "Requests that a limiter held back.")
	m.revocations = counter("oauthreg.revocations", "{revocation}", "Tokens, grants and consents revoked.")
	m.unproven = counter("oauthreg.client_authentication.failures", "{failure}", "Failed client authentications.")
	m.signIns = counter("oauthreg.sign_ins", "{sign_in}", "Tries at the built-in sign-in.")
	m.consents = counter("oauthreg.consents", "{decision}", "Decisions of users at the consent page.")

	gauge, err := meter.Int64ObservableGauge("oauthreg.signing_keys", metric.WithUnit("{key}"), metric.WithDescription("Published signing keys, by algorithm and state."))
	if errs = append(errs, err); err == nil {
		_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
			published, err := keys.Keys(ctx)
			if err != nil {
				return err
			}
			type kind struct{ alg, state string }
			count := map[kind]int64{}
			for i := range published {
				count[kind{published[i].Alg, string(published[i].State(now()))}]++
			}
			for k, n := range count {
				o.ObserveInt64(gauge, n, metric.WithAttributes(attrAlg.String(k.alg), attrState.String(k.state)))
			}
			return nil
		}, gauge)
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// count counts what happened.
func (m *meters) count(ctx context.Context, e *oauthreg.Event) {
	one := func(c metric.Int64Counter, attrs ...attr.KeyValue) {
		c.Add(ctx, 1, metric.WithAttributes(attrs...))
	}
	kind := func(c metric.Int64Counter, name string) { one(c, attrKind.String(name)) }
	switch e.Type {
	case oauthreg.EventTokenIssued, oauthreg.EventRefreshed:
		one(m.tokens, attrGrantType.String(e.GrantType))
	case oauthreg.EventAuthorized:
		one(m.authorized, attrResponseType.String(e.Detail))
	case oauthreg.EventRefused, oauthreg.EventFailed:
		one(m.refusals, attrEndpoint.String(e.Endpoint), attrOAuthError.String(e.Error))
	case oauthreg.EventReplayDetected:
		kind(m.replays, e.Detail)
	case oauthreg.EventLimited:
		kind(m.limited, e.Detail)
	case oauthreg.EventTokenRevoked:
		kind(m.revocations, "token")
	case oauthreg.EventGrantRevoked:
		m.revocations.Add(ctx, int64(e.Count), metric.WithAttributes(attrKind.String("grant")))
	case oauthreg.EventConsentRevoked:
		m.revocations.Add(ctx, int64(e.Count), metric.WithAttributes(attrKind.String("consent")))
	case oauthreg.EventClientAuthenticationFailed:
		one(m.unproven, attrEndpoint.String(e.Endpoint))
	case oauthreg.EventSignedIn, oauthreg.EventSignInFailed:
		one(m.signIns, attrSuccess.Bool(e.Type == oauthreg.EventSignedIn))
	case oauthreg.EventConsentGiven:
		kind(m.consents, "given")
	case oauthreg.EventConsentDenied:
		kind(m.consents, "denied")
	}
}
