package handlers_test

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
)

// BenchmarkToken is a client credentials request at the token endpoint, without
// the network. What matters here is the number of allocations: it shows what
// every request pays, also for what is switched off.
func BenchmarkToken(b *testing.B) {
	e := newEnv(b, envOptions{})
	reg := e.register(machineClient())
	body := url.Values{"grant_type": {"client_credentials"}, "scope": {"read"}}.Encode()
	b.ReportAllocs()
	for b.Loop() {
		req := httptest.NewRequest(http.MethodPost, e.issuer+"/oauth/token", strings.NewReader(body))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		req.SetBasicAuth(reg.Client.ClientID, reg.Secret)
		w := httptest.NewRecorder()
		e.server.ServeHTTP(w, req)
		if w.Code != http.StatusOK {
			b.Fatal(w.Code, w.Body)
		}
	}
}
