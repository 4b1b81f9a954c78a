package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
)

// process is a built standalone server.
type process struct {
	cmd    *exec.Cmd
	issuer string
	ended  chan int
	out    *output
	err    *output
}

// built is where the program is once it was built.
var built struct {
	sync.Once
	dir string
	err error
}

// buildStandalone builds the server, once, and returns the program's name.
func buildStandalone(t *testing.T) string {
	t.Helper()
	built.Do(func() {
		if built.dir, built.err = os.MkdirTemp("", "standalone"); built.err != nil { //nolint:usetesting // outlives the first test that needs it
			return
		}
		if out, err := exec.Command("go", "build", "-o", built.dir, ".").CombinedOutput(); err != nil {
			built.err = fmt.Errorf("go build: %w: %s", err, out)
		}
	})
	if built.err != nil {
		t.Fatal(built.err)
	}
	return filepath.Join(built.dir, "standalone")
}

// startProcess starts the server and waits until it listens.
func startProcess(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := startBare(t, binary, args...)
	p.issuer = waitForIssuer(t, p.out, p.ended, p.err)
	return p
}

// startBare starts the server and does not wait.
func startBare(t *testing.T, binary string, args ...string) *process {
	t.Helper()
	p := &process{cmd: exec.Command(binary, args...), ended: make(chan int, 1), out: newOutput(), err: newOutput()}
	p.cmd.Stdout, p.cmd.Stderr = p.out, p.err
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait() // the status is in ProcessState
		p.ended <- p.cmd.ProcessState.ExitCode()
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		searchForSecrets(t, args, p.err.String())
	})
	return p
}

func (p *process) signal(t *testing.T, sig os.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
	return <-p.ended
}

// SIGTERM ends the process well, kill -9 at once, and neither loses anything
// that was answered.
func TestProcessSignals(t *testing.T) {
	dir := t.TempDir()
	binary := buildStandalone(t)
	args := []string{"-db", filepath.Join(dir, "test.db"), "-clients", "../../testdata/clients.json", "-users", "../../testdata/users.json"}
	p := startProcess(t, binary, append(args, "-addr", "127.0.0.1:0")...)
	args = append(args, "-addr", p.issuer[len("http://"):])

	first := signIn(t, p.issuer)
	revoked := signIn(t, p.issuer)
	rotated, err := refresh(t.Context(), p.issuer, first.RefreshToken)
	if err != nil {
		t.Fatal(err)
	}
	if status, doc := post(t, p.issuer+"/oauth/revoke", map[string][]string{"token": {revoked.RefreshToken}}); status != 200 {
		t.Fatalf("revocation: %d %v", status, doc)
	}
	if status := p.signal(t, syscall.SIGKILL); status == 0 {
		t.Fatal("kill -9 ended the process well")
	}

	p = startProcess(t, binary, args...)
	if !active(t, p.issuer, rotated.AccessToken) {
		t.Error("kill -9 lost an access token")
	}
	if active(t, p.issuer, revoked.AccessToken) {
		t.Error("kill -9 lost a revocation")
	}
	again, err := refresh(t.Context(), p.issuer, rotated.RefreshToken)
	if err != nil {
		t.Fatalf("kill -9 lost a refresh token: %v", err)
	}
	if status := p.signal(t, syscall.SIGTERM); status != 0 {
		t.Errorf("SIGTERM: got status %d, want 0: %s", status, p.err)
	}

	p = startProcess(t, binary, args...)
	if _, err := refresh(t.Context(), p.issuer, again.RefreshToken); err != nil {
		t.Errorf("SIGTERM lost a refresh token: %v", err)
	}
	if status := p.signal(t, os.Interrupt); status != 0 {
		t.Errorf("SIGINT: got status %d, want 0: %s", status, p.err)
	}
}
