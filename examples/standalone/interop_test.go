package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

const interop = "../../handlers/testdata/interop"

// The published npm package "telnyx", unchanged, against this program on a SQLite
// file. "npm ci" in the interop folder installs it; CI sets OAUTHREG_INTEROP=1,
// so that nothing is skipped there.
func TestInteropTelnyx(t *testing.T) {
	node := needTelnyx(t)
	dir := t.TempDir()
	clients, users := filepath.Join(dir, "clients.json"), filepath.Join(dir, "users.json")
	for name, content := range map[string]string{
		clients: `[{"client_id":"admin-job","client_name":"Admin job","client_secret":"admin-job-secret-for-this-test-only","grant_types":["client_credentials"],"scope":"admin","default_scope":"admin"}]`,
		users:   `[{"username":"alice","password":"wonderland","sub":"sub-alice"}]`,
	} {
		if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const key = "My API Key"
	s := launch(t, "-admin-key", key, "-clients", clients, "-users", users)
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", "telnyx.test.mjs")
	cmd.Dir = interop
	cmd.Env = append(os.Environ(),
		"OAUTHREG_BASE_URL="+s.issuer+"/v2", "OAUTHREG_API_KEY="+key, "OAUTHREG_ISSUER="+s.issuer,
		"OAUTHREG_USER=alice", "OAUTHREG_PASSWORD=wonderland", "OAUTHREG_ADMIN_CLIENT=admin-job:admin-job-secret-for-this-test-only")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
}

// needTelnyx returns the path of node, or skips.
func needTelnyx(t *testing.T) string {
	t.Helper()
	skip := t.Skip
	if os.Getenv("OAUTHREG_INTEROP") != "" {
		skip = t.Fatal
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skip("node is not installed")
	}
	if _, err := os.Stat(filepath.Join(interop, "node_modules", "telnyx")); err != nil {
		skip("the npm package telnyx is not installed: run npm ci in handlers/testdata/interop")
	}
	return node
}

// The example of the package's own documentation, against the sample clients.
func TestInteropTelnyxExample(t *testing.T) {
	node := needTelnyx(t)
	const key = "My API Key"
	s := launch(t, "-admin-key", key, "-clients", "../../testdata/clients.json")
	cmd := exec.CommandContext(t.Context(), node, "--input-type=module", "-e", `
import Telnyx from 'telnyx';
const client = new Telnyx({ apiKey: 'My API Key', baseURL: process.env.OAUTHREG_BASE_URL });
const oauthClient = await client.oauthClients.retrieve('182bd5e5-6e1a-4fe4-a799-aa6d9a6ab26e');
console.log(oauthClient.data.name);
`)
	cmd.Dir = interop
	cmd.Env = append(os.Environ(), "OAUTHREG_BASE_URL="+s.issuer+"/v2")
	if out, err := cmd.CombinedOutput(); err != nil || string(out) != "Shop partner\n" {
		t.Errorf("got %q, %v", out, err)
	}
}
