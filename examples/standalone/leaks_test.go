package main

import (
	"encoding/json"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/oauthreg/oauthreg/handlers/authtest/secretsearch"
)

// used are the credentials of all tests of this package: what passes through the
// default transport, and what stands in the files that servers are given.
var used secretsearch.Book

func TestMain(m *testing.M) {
	http.DefaultTransport = used.Transport(http.DefaultTransport)
	status := m.Run()
	_ = os.RemoveAll(built.dir) // nothing when it was not built
	os.Exit(status)
}

// argument is the value of a flag.
func argument(args []string, name string) string {
	if i := slices.Index(args, name); i >= 0 && i+1 < len(args) {
		return args[i+1]
	}
	return ""
}

// searchForSecrets looks for everything secret that was used in what a server,
// which has ended, left behind: its database file and its log. What it prints for
// people is no log: a development server prints demo credentials.
func searchForSecrets(t testing.TB, args []string, log string) {
	t.Helper()
	for _, flag := range []string{"-clients", "-users"} {
		var v any
		if b, err := os.ReadFile(argument(args, flag)); err == nil && json.Unmarshal(b, &v) == nil {
			used.JSON(v)
		}
	}
	used.Add("admin key", argument(args, "-admin-key"))
	for _, what := range used.Search([]byte(log)) {
		t.Errorf("the log has a %s in clear", what)
	}
	db := argument(args, "-db")
	if db == ":memory:" || strings.Contains(db, "://") {
		return
	}
	if key, err := os.ReadFile(db + ".key"); err == nil {
		used.Add("master key", strings.TrimSpace(string(key)))
	}
	for _, file := range []string{db, db + "-wal"} {
		b, err := os.ReadFile(file)
		if err != nil && !os.IsNotExist(err) {
			t.Error(err)
		}
		for _, what := range used.Search(b) {
			t.Errorf("%s has a %s in clear", file, what)
		}
	}
}

// The search is one that finds: tokens, codes, passwords and secrets of a flow were
// noted, and would be seen in a log.
func TestFlowsAreNoted(t *testing.T) {
	s := launch(t, "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json")
	token := signIn(t, s.issuer)
	for what, secret := range map[string]string{
		"access_token": token.AccessToken, "refresh_token": token.RefreshToken, "id_token": token.Extra("id_token").(string),
		"password": "alice-password", "client": "web-shop-secret-for-development-only",
	} {
		if found := used.Search([]byte("x=" + secret)); len(found) == 0 || !strings.HasPrefix(found[0], what) {
			t.Errorf("the %s is found as %v", what, found)
		}
	}
	for _, what := range []string{"code", "code_verifier", "csrf_token", "consent_token", "cookie oauthreg_session", "cookie oauthreg_browser"} {
		if !slices.Contains(used.Kinds(), what) {
			t.Errorf("no %s was noted", what)
		}
	}
}
