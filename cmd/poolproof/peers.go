//go:build unix

package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/poolproof/poolproof/hostile/report"
)

// peers finds out which processes connect, and which of those that the program
// started do not. It reads /proc (proc(5)), so it sees the processes of this
// machine, as far as this user may, and only those in the same network
// namespace: a process in a container looks like nobody. It is safe for
// concurrent use.
type peers struct {
	mu        sync.Mutex
	connected map[int]*report.Process
	unknown   int // connections whose process was not found
	started   map[int]*startedProcess
}

// startedProcess is a process that the program started, or the program itself.
type startedProcess struct {
	command     string
	first, last time.Time // when it was seen
}

const (
	maxPeers    = 1000                   // processes that are remembered
	watchEvery  = 250 * time.Millisecond // how often the program's processes are listed
	shortLived  = time.Second            // one that lives shorter is not said to have not connected
	maxCommand  = 120                    // bytes of a command line
	established = "01"                   // a socket's state in /proc/net/tcp
)

func newPeers() *peers {
	return &peers{connected: map[int]*report.Process{}, started: map[int]*startedProcess{}}
}

// letIn notes the process at the other end of a connection.
func (p *peers) letIn(local, remote net.Addr) {
	from, ok := remote.(*net.TCPAddr)
	to, ok2 := local.(*net.TCPAddr)
	if !ok || !ok2 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	inode, err := socketBetween(from.Port, to.Port)
	pid := 0
	if err == nil {
		if pid = holder(inode, slices.Collect(maps.Keys(p.connected))); pid == 0 {
			pid = holder(inode, processes())
		}
	}
	if pid == 0 || p.connected[pid] == nil && len(p.connected) >= maxPeers {
		p.unknown++
		return
	}
	if p.connected[pid] == nil {
		p.connected[pid] = &report.Process{PID: pid, Command: commandLine(pid)}
	}
	p.connected[pid].Connections++
}

// watch lists the program's processes until ctx ends.
func (p *peers) watch(ctx context.Context, root int) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		p.list(root)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// list notes the program's processes that there are now.
func (p *peers) list(root int) {
	parents := map[int]int{}
	for _, pid := range processes() {
		parents[pid] = parent(pid)
	}
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	for pid := range parents {
		at := pid
		for range 100 { // no tree is that deep
			if at == root || at <= 1 || p.started[at] != nil {
				break
			}
			at = parents[at]
		}
		if at <= 1 {
			continue
		}
		if s := p.started[pid]; s != nil {
			s.last = now
			if command := commandLine(pid); command != "" { // it may have become another program
				s.command = command
			}
		} else if len(p.started) < maxPeers {
			p.started[pid] = &startedProcess{commandLine(pid), now, now}
		}
	}
}

// report returns the processes that connected, those that did not, and how many
// connections nobody was found for.
func (p *peers) report() (connected, silent []report.Process, unknown int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, pid := range slices.Sorted(maps.Keys(p.connected)) {
		connected = append(connected, *p.connected[pid])
	}
	for _, pid := range slices.Sorted(maps.Keys(p.started)) {
		if s := p.started[pid]; p.connected[pid] == nil && s.last.Sub(s.first) >= shortLived {
			silent = append(silent, report.Process{PID: pid, Command: s.command})
		}
	}
	return connected, silent, p.unknown
}

// processes returns the numbers of all processes that can be seen.
func processes() (pids []int) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil // there is no /proc here: nothing is found, and the report says so
	}
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

// parent returns the number of a process's parent, or 0.
func parent(pid int) int {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended
	}
	_, rest, _ := strings.Cut(string(raw[bytes.LastIndexByte(raw, ')')+1:]), " ") // after the name, which may hold anything
	fields := strings.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	number, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return number
}

// secrets matches passwords as they stand in command lines: in a URL, in a
// keyword string, behind an option.
var secrets = regexp.MustCompile(`(?i)(://[^:/@\s]*:)[^@\s]+(@)|(\b[\w-]*(?:password|passwd|secret|token)["']?\s*[=: ]\s*)[^\s&;,]+`)

// withoutSecrets replaces passwords in a command line.
func withoutSecrets(line string) string { return secrets.ReplaceAllString(line, "$1$3…$2") }

// commandLine returns a process's command line, without passwords and shortened.
func commandLine(pid int) string {
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil {
		return "" // it has ended
	}
	line := withoutSecrets(strings.TrimSpace(strings.ReplaceAll(string(raw), "\x00", " ")))
	if len(line) > maxCommand {
		line = strings.ToValidUTF8(line[:maxCommand], "") + "…"
	}
	return line
}

// socketBetween returns the inode of the client's socket of a connection.
func socketBetween(from, to int) (string, error) {
	for _, name := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		f, err := os.Open(name)
		if err != nil {
			continue
		}
		inode := socketIn(f, from, to)
		_ = f.Close() // only read
		if inode != "" {
			return inode, nil
		}
	}
	return "", errors.New("the connection is not in /proc/net/tcp")
}

// socketIn searches one of these files.
func socketIn(f *os.File, from, to int) string {
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) > 9 && fields[3] == established && portOf(fields[1]) == from && portOf(fields[2]) == to {
			return fields[9]
		}
	}
	return ""
}

// portOf returns the port of an address such as 0100007F:1538.
func portOf(address string) int {
	_, port, _ := strings.Cut(address, ":")
	raw, err := hex.DecodeString(port)
	if err != nil || len(raw) != 2 {
		return -1
	}
	return int(raw[0])<<8 | int(raw[1])
}

// holder returns the first of these processes that has the socket open, or 0.
func holder(inode string, among []int) int {
	want := "socket:[" + inode + "]"
	for _, pid := range among {
		dir := fmt.Sprintf("/proc/%d/fd", pid)
		entries, err := os.ReadDir(dir)
		if err != nil {
			continue // it has ended, or is another user's
		}
		for _, e := range entries {
			if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil && target == want {
				return pid
			}
		}
	}
	return 0
}
