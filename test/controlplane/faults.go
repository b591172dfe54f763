package controlplane

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// KillAPIServer ends kube-apiserver at once, as a lost node would. etcd goes on.
func (cp *ControlPlane) KillAPIServer() error {
	pid, err := cp.signal("kube-apiserver", syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("failed to kill kube-apiserver: %w", err)
	}
	for deadline := time.Now().Add(startTimeout); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			return nil
		}
	}
	return fmt.Errorf("kube-apiserver, process %d, outlives SIGKILL", pid)
}

// StartAPIServer starts kube-apiserver again, after KillAPIServer: with the same command line, so at
// the same address and on what is in etcd. It returns when the API server is healthy.
func (cp *ControlPlane) StartAPIServer() error {
	apiServer := cp.env.ControlPlane.GetAPIServer()
	// The first one's is closed here since only the process needed it.
	log, err := os.OpenFile(cp.apiServerLog(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("failed to start kube-apiserver again: %w", err)
	}
	defer log.Close() //nolint:errcheck // The process holds it open by itself.
	apiServer.Out, apiServer.Err = log, log
	if err := apiServer.Start(); err != nil {
		return fmt.Errorf("failed to start kube-apiserver again: %w\n%s", err, tail(log.Name()))
	}
	return nil
}

// SlowEtcd makes etcd hang for the time of stall, run for the time of run, and so on, as on a disk
// that is too slow for it, until the returned function is called.
func (cp *ControlPlane) SlowEtcd(stall, run time.Duration) (end func() error, err error) {
	turn := func(sig syscall.Signal) error {
		if _, err := cp.signal("etcd", sig); err != nil {
			return fmt.Errorf("failed to make etcd slow: %w", err)
		}
		return nil
	}
	if err := turn(syscall.SIGSTOP); err != nil {
		return nil, err
	}
	done, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for {
			for _, next := range []struct {
				after time.Duration
				sig   syscall.Signal
			}{{stall, syscall.SIGCONT}, {run, syscall.SIGSTOP}} {
				select {
				case <-done:
					ended <- turn(syscall.SIGCONT)
					return
				case <-time.After(next.after):
				}
				if err := turn(next.sig); err != nil {
					ended <- err
					return
				}
			}
		}
	}()
	return sync.OnceValue(func() error {
		close(done)
		return <-ended
	}), nil
}

// signal sends a signal to the process that runs a guarded binary for envtest.
func (cp *ControlPlane) signal(binary string, sig syscall.Signal) (pid int, err error) {
	data, err := os.ReadFile(cp.pidFile(binary))
	if err != nil {
		return 0, err
	}
	if pid, err = strconv.Atoi(strings.TrimSpace(string(data))); err != nil {
		return 0, err
	}
	return pid, syscall.Kill(pid, sig)
}

// pidFile holds the id of the process that runs a binary for envtest, which keeps it to itself.
func (cp *ControlPlane) pidFile(binary string) string { return filepath.Join(cp.dir, binary+".pid") }
