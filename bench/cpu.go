package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// cpuTimes is processor time spent, user and system together.
type cpuTimes struct{ postgres, pooler, client time.Duration }

func (c cpuTimes) since(b cpuTimes) cpuTimes {
	return cpuTimes{c.postgres - b.postgres, c.pooler - b.pooler, c.client - b.client}
}

func (c cpuTimes) and(b cpuTimes) cpuTimes {
	return cpuTimes{c.postgres + b.postgres, c.pooler + b.pooler, c.client + b.client}
}

func (c cpuTimes) per(n int) cpuTimes {
	d := time.Duration(max(n, 1))
	return cpuTimes{c.postgres / d, c.pooler / d, c.client / d}
}

// cpuMeter reads what the servers and this process have spent so
// far, from Linux's /proc. A nil meter reads zeros.
type cpuMeter struct {
	postmaster int
	poolers    []int
	// The files to read: one per thread, listed by refresh.
	postgresFiles, poolerFiles []string
}

// newCPUMeter finds the servers by the folders that they run in.
func newCPUMeter(postgres string, poolers []string) (*cpuMeter, error) {
	m := &cpuMeter{}
	var err error
	if m.postmaster, err = serverIn(postgres); err != nil {
		return nil, err
	}
	for _, dir := range poolers {
		pid, err := serverIn(dir)
		if err != nil {
			return nil, err
		}
		m.poolers = append(m.poolers, pid)
	}
	return m, nil
}

// refresh lists the servers' processes and threads again. It takes
// milliseconds and is not for the moment that is measured.
func (m *cpuMeter) refresh() error {
	if m == nil {
		return nil
	}
	backends, err := childrenOf(m.postmaster)
	if err != nil {
		return err
	}
	m.postgresFiles = threadFiles(append(backends, m.postmaster))
	m.poolerFiles = threadFiles(m.poolers)
	return nil
}

// read sums up. A backend that has ended takes its time with it; that happens
// in the warm-up only, because pools keep theirs.
func (m *cpuMeter) read() (t cpuTimes, err error) {
	if m == nil {
		return t, nil
	}
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		return t, fmt.Errorf("read our own CPU time: %w", err)
	}
	t.client = time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	var errs [2]error
	t.postgres, errs[0] = cpuOf(m.postgresFiles)
	t.pooler, errs[1] = cpuOf(m.poolerFiles)
	return t, errors.Join(errs[:]...)
}

// threadFiles are the files that tell how long each thread of the processes
// has run.
func threadFiles(pids []int) []string {
	var files []string
	for _, pid := range pids {
		threads, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid)) // the pattern is well-formed: no error
		files = append(files, threads...)
	}
	return files
}

// cpuOf sums up the time that threads have run, in nanoseconds' precision. One
// that has ended counts nothing.
func cpuOf(files []string) (sum time.Duration, err error) {
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ESRCH) {
			continue
		}
		if err != nil {
			return 0, fmt.Errorf("read a server's CPU time: %w", err)
		}
		first, _, _ := strings.Cut(string(b), " ")
		ns, err := strconv.ParseInt(first, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("read a server's CPU time: %w", err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
}

// childrenOf lists the processes that a process has started.
func childrenOf(parent int) ([]int, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return nil, err
	}
	var pids []int
	for _, file := range files {
		b, err := os.ReadFile(file)
		if err != nil {
			continue // it has ended
		}
		// "pid (name) state ppid …", where name may hold anything.
		fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
		if len(fields) < 2 || fields[1] != strconv.Itoa(parent) {
			continue
		}
		pid, err := strconv.Atoi(filepath.Base(filepath.Dir(file)))
		if err != nil {
			return nil, fmt.Errorf("list processes: %w", err)
		}
		pids = append(pids, pid)
	}
	return pids, nil
}

// serverIn finds the server that runs in a folder: the process of ours whose
// command line names it.
func serverIn(dir string) (int, error) {
	children, err := childrenOf(os.Getpid())
	if err != nil {
		return 0, err
	}
	for _, pid := range children {
		line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.Contains(line, []byte(dir+"/")) {
			return pid, nil
		}
	}
	return 0, fmt.Errorf("no server of ours runs in %s (on Linux, /proc would show it)", dir)
}
