package handlers_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/oauthreg/oauthreg/handlers"
	"github.com/oauthreg/oauthreg/oauthreg"
)

// The published npm package of the management API's first dialect, unchanged,
// against a server on a SQLite file. "npm ci" in testdata/interop installs it.
func TestInteropTelnyx(t *testing.T) {
	e := newManagedEnv(t, envOptions{config: func(c *handlers.Config) {
		c.Registration.Mode = handlers.RegistrationOpen
	}}, nil)
	admin := machineClient()
	admin.OrgID, admin.ProjectID = homeOrg, homeProject
	admin.Scopes, admin.DefaultScopes = []string{"admin"}, []string{"admin"}
	admin.TokenEndpointAuthMethod = oauthreg.AuthUnnamed
	reg := e.register(admin)
	runNode(t, "telnyx.test.mjs", "telnyx",
		"OAUTHREG_BASE_URL="+e.v2, "OAUTHREG_API_KEY="+adminKey, "OAUTHREG_ISSUER="+e.issuer,
		"OAUTHREG_USER=alice", "OAUTHREG_PASSWORD=wonderland",
		"OAUTHREG_ADMIN_CLIENT="+reg.Client.ClientID+":"+reg.Secret)
}

// runNode runs a test file of testdata/interop that needs the npm package. CI
// sets OAUTHREG_INTEROP=1, so that nothing is skipped there.
func runNode(t *testing.T, file, module string, env ...string) {
	t.Helper()
	skip := t.Skip
	if os.Getenv("OAUTHREG_INTEROP") != "" {
		skip = t.Fatal
	}
	node, err := exec.LookPath("node")
	if err != nil {
		skip("node is not installed")
	}
	dir := filepath.Join("testdata", "interop")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", module)); err != nil {
		skip("the npm package " + module + " is not installed: run npm ci in handlers/testdata/interop")
	}
	cmd := exec.CommandContext(t.Context(), node, "--test", "--test-reporter=tap", file)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%s: %v\n%s", file, err, out.String())
	}
	t.Logf("%s", out.String())
}
