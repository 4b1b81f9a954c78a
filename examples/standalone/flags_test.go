package main

import (
	"errors"
	"flag"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
)

func noEnv(string) string { return "" }

func TestParseFlags(t *testing.T) {
	o, err := parseFlags(nil, noEnv, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.addr != "127.0.0.1:9096" || o.issuer != "" || o.db != "oauthreg.db" || !o.limits || !o.console || !o.cimd || o.implicit || o.outboundPrivate ||
		o.org != defaultOrg || o.project != defaultProject || o.user != defaultUser || o.adminKey != "" {
		t.Errorf("defaults: %+v", o)
	}

	const id = "7f1f7b1e-5c0b-4a51-9d0e-0b8c0f5a9f11"
	o, err = parseFlags(strings.Fields(`-addr localhost:0 -issuer https://auth.example/x -db :memory: -clients c.json -users u.json
		-org `+strings.ToUpper(id)+` -project `+id+` -user `+id+` -tls-cert c.pem -tls-key k.pem -outbound-ca ca.pem
		-outbound-private -implicit -limits off -console off -cimd off -registration token -registration-limit 5 -resource https://a.example -resource urn:example:b`),
		func(name string) string { return map[string]string{"OAUTHREG_ADMIN_KEY": "from-env"}[name] }, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	if o.org != id || o.project != id || o.user != id || o.limits || o.console || o.cimd || !o.implicit || !o.outboundPrivate || o.adminKey != "from-env" ||
		!slices.Equal(o.resources, []string{"https://a.example", "urn:example:b"}) {
		t.Errorf("got %+v", o)
	}

	o, err = parseFlags([]string{"-admin-key", "from-flag"}, func(string) string { return "from-env" }, io.Discard)
	if err != nil || o.adminKey != "from-flag" {
		t.Errorf("got %q, %v, want the flag before the environment", o.adminKey, err)
	}
}

func TestParseFlagsErrors(t *testing.T) {
	tests := []struct{ args, want string }{
		{"-nonsense", "flag provided but not defined: -nonsense"},
		{"-db", "flag needs an argument: -db"},
		{"serve", `unexpected argument "serve"`},
		{"-limits maybe", `invalid value "maybe" for flag -limits: must be "on" or "off"`},
		{"-org acme", `invalid value "acme" for flag -org: not a UUID`},
		{"-project {7f1f7b1e-5c0b-4a51-9d0e-0b8c0f5a9f11}", "for flag -project: not a UUID"},
		{"-user 0", "for flag -user: not a UUID"},
		{"-issuer auth.example", "for flag -issuer: must be an http or https URL"},
		{"-issuer http://auth.example", "for flag -issuer: must be https; http is for localhost, 127.0.0.1 and [::1] only"},
		{"-issuer https://auth.example/", "for flag -issuer: must not end with a slash"},
		{"-issuer https://auth.example?x", "for flag -issuer: must be an http or https URL without"},
		{"-issuer https://u@auth.example", "for flag -issuer: must be an http or https URL without"},
		{"-resource /api", "for flag -resource: must be an absolute URL without fragment"},
		{"-resource https://a.example#f", "for flag -resource: must be an absolute URL without fragment"},
		{"-migrate maybe", `invalid value "maybe" for flag -migrate: must be "on", "off", "status" or "sql"`},
		{"-refresh-grace -1s", "-refresh-grace is not between 0 and 5m"},
		{"-refresh-grace 6m", "-refresh-grace is not between 0 and 5m"},
		{"-addr 9096", "-addr: address 9096: missing port in address"},
		{"-metrics 9097", "-metrics: address 9097: missing port in address"},
		{"-db=", "-db is empty"},
		{"-registration maybe", `invalid value "maybe" for flag -registration: must be "open", "token" or "closed"`},
		{"-cimd maybe", `invalid value "maybe" for flag -cimd: must be "on" or "off"`},
		{"-console maybe", `invalid value "maybe" for flag -console: must be "on" or "off"`},
		{"-conformance-register", "the flags -conformance-... go with -conformance"},
		{"-registration-limit -1", "-registration-limit is negative"},
		{"-tls-cert c.pem", "-tls-cert and -tls-key belong together"},
		{"-tls-key k.pem", "-tls-cert and -tls-key belong together"},
		{"-admin-key schlüssel", "the admin key must be printable ASCII"},
		{"-outbound-private=perhaps", "for -outbound-private"},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			var help strings.Builder
			_, err := parseFlags(strings.Fields(tt.args), noEnv, &help)
			var usage *usageError
			if !errors.As(err, &usage) || !strings.Contains(err.Error(), tt.want) || help.Len() != 0 {
				t.Errorf("got %v and %q, want %q", err, help.String(), tt.want)
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"-h", "-help", "--help"} {
		var help strings.Builder
		if _, err := parseFlags([]string{arg}, noEnv, &help); !errors.Is(err, flag.ErrHelp) {
			t.Errorf("%s: got %v", arg, err)
		}
		for _, name := range []string{"-addr", "-issuer", "-db", "-clients", "-users", "-admin-key", "-tls-cert", "-tls-key", "-outbound-ca", "-outbound-private",
			"-conformance", "-conformance-config", "-conformance-client", "-conformance-redirect", "-conformance-user", "-conformance-register", "-conformance-json",
			"-org", "-project", "-user", "-resource", "-limits", "-log", "-console", "-implicit", "-metrics"} {
			if !strings.Contains(help.String(), "  "+name+" ") && !strings.Contains(help.String(), "  "+name+"\n") {
				t.Errorf("%s does not tell of %s", arg, name)
			}
		}
	}
}

func TestIssuerFor(t *testing.T) {
	tests := []struct {
		name string
		o    options
		want string
	}{
		{"the address", options{addr: "127.0.0.1:0"}, "http://127.0.0.1:4711"},
		{"a name stays a name", options{addr: "localhost:0"}, "http://localhost:4711"},
		{"IPv6", options{addr: "[::1]:0"}, "http://[::1]:4711"},
		{"no host", options{addr: ":0"}, "http://localhost:4711"},
		{"every IPv4 address", options{addr: "0.0.0.0:0"}, "http://localhost:4711"},
		{"every address", options{addr: "[::]:0"}, "http://localhost:4711"},
		{"https", options{addr: "localhost:0", tlsCert: "c.pem"}, "https://localhost:4711"},
		{"as asked for", options{addr: "127.0.0.1:0", issuer: "https://auth.example/a"}, "https://auth.example/a"},
		{"port 0 in the issuer", options{addr: "127.0.0.1:0", issuer: "http://127.0.0.1:0/a/b"}, "http://127.0.0.1:4711/a/b"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := issuerFor(tt.o, &net.TCPAddr{Port: 4711}); got != tt.want {
				t.Errorf("got %s, want %s", got, tt.want)
			}
		})
	}
}
