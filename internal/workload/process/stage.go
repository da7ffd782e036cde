package process

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/slipway-cd/slipway/internal/delivery"
)

// stageWord is the argument that makes the shim's binary a stage: a process
// that waits until it is written down, bounds itself and then becomes the
// application. So no application ever runs unrecorded or unbounded.
const stageWord = "stage"

// order is what a stage is told to become.
type order struct {
	Path  string   `json:"path"`
	Argv  []string `json:"argv"`
	Env   []string `json:"env"`
	Files uint64   `json:"files,omitempty"` // most open files; 0 leaves it
}

// The descriptors of a stage.
const (
	orderFD  = 3 // the order comes in
	answerFD = 4 // why it could not become the application; closes when it did
)

// stage reads its order and becomes the application. It returns only if it cannot.
func stage() int {
	in, answer := os.NewFile(orderFD, "order"), os.NewFile(answerFD, "answer")
	var o order
	if err := json.NewDecoder(in).Decode(&o); err != nil {
		return exitBroken // the shim is gone
	}
	err := closeOnExec()
	if err == nil && o.Files > 0 {
		err = limitFiles(o.Files)
	}
	if err == nil {
		err = syscall.Exec(o.Path, o.Argv, o.Env)
	}
	if _, werr := io.WriteString(answer, execWords(o.Path, err)); werr != nil {
		return exitBroken // the shim is gone
	}
	return exitCannot
}

func limitFiles(n uint64) error {
	var now syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now); err != nil {
		return err
	}
	want := syscall.Rlimit{Cur: n, Max: n}
	if n > now.Max && os.Geteuid() != 0 {
		want = syscall.Rlimit{Cur: now.Max, Max: now.Max}
	}
	return syscall.Setrlimit(syscall.RLIMIT_NOFILE, &want)
}

// closeOnExec keeps every descriptor but the first three from the application.
func closeOnExec() error {
	err := unix.CloseRange(orderFD, math.MaxUint32, unix.CLOSE_RANGE_CLOEXEC)
	if !errors.Is(err, unix.ENOSYS) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.EPERM) {
		return err
	}
	return eachFD(func(fd int) { unix.CloseOnExec(fd) })
}

// closeInherited closes what the server left open by mistake. Everything this
// process opened itself closes on exec, so what does not was inherited.
func closeInherited() error {
	return eachFD(func(fd int) {
		if flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			unix.Close(fd) //nolint:errcheck // it was not ours
		}
	})
}

func eachFD(do func(fd int)) error {
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		return err
	}
	for _, e := range entries {
		var fd int
		if _, err := fmt.Sscan(e.Name(), &fd); err == nil && fd >= orderFD {
			do(fd)
		}
	}
	return nil
}

func execWords(path string, err error) string {
	switch {
	case errors.Is(err, unix.ENOENT):
		return path + " names an interpreter that is not there (see its first line)"
	case errors.Is(err, unix.ENOEXEC):
		return path + " is no program for this machine and has no #! line"
	case errors.Is(err, fs.ErrPermission):
		return path + " may not be run: permission denied"
	}
	return fmt.Sprintf("%s cannot be run: %v", path, err)
}

// lookCommand finds the program of a command. A name with a slash is relative
// to the bundle; any other is looked up in the PATH of the instance.
func lookCommand(bundle, name, pathVar string) (string, error) {
	info, err := os.Stat(bundle)
	if err != nil || !info.IsDir() {
		return "", fmt.Errorf("its bundle %s is not there; deploy the version again", bundle)
	}
	if strings.Contains(name, "/") {
		full := name
		if !filepath.IsAbs(full) {
			full = filepath.Join(bundle, full)
		}
		return full, runnable(full, name)
	}
	for _, dir := range filepath.SplitList(pathVar) {
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(bundle, dir)
		}
		if full := filepath.Join(dir, name); runnable(full, name) == nil {
			return full, nil
		}
	}
	if runnable(filepath.Join(bundle, name), name) == nil {
		return "", fmt.Errorf("command not found: %s is not in PATH; the bundle has it, so write ./%s", name, name)
	}
	return "", fmt.Errorf("command not found: %s is neither in PATH (%s) nor in the bundle", name, pathVar)
}

func runnable(full, name string) error {
	info, err := os.Stat(full)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("command not found: %s is not in the bundle", name)
	case err != nil:
		return fmt.Errorf("command not found: %w", err)
	case info.IsDir():
		return fmt.Errorf("command not executable: %s is a folder", name)
	case unix.Access(full, unix.X_OK) != nil:
		return fmt.Errorf("command not executable: %s has mode %04o; chmod +x it and deploy again", name, info.Mode().Perm())
	}
	return nil
}

// environ is exactly the variables of the spec and PORT; PATH, HOME, LANG and
// TMPDIR come from the shim if the spec has none.
func environ(vars map[string]string, port int) []string {
	env := []string{fmt.Sprintf("PORT=%d", port)}
	for k, v := range vars {
		if k != "PORT" {
			env = append(env, k+"="+v)
		}
	}
	for _, k := range inherited() {
		if _, set := vars[k]; set {
			continue
		}
		if v, set := os.LookupEnv(k); set {
			env = append(env, k+"="+v)
		} else if k == "PATH" {
			env = append(env, "PATH="+defaultPath)
		}
	}
	return env
}

const defaultPath = "/usr/local/bin:/usr/bin:/bin"

// inherited names the variables of the server that instances may see.
func inherited() []string { return []string{"PATH", "HOME", "LANG", "TMPDIR"} }

// pathOf returns the PATH an instance will have.
func pathOf(vars map[string]string) string {
	if p, set := vars["PATH"]; set {
		return p
	}
	if p, set := os.LookupEnv("PATH"); set {
		return p
	}
	return defaultPath
}

// checkRun refuses a spec that no shim could follow.
func checkRun(r delivery.RunSpec, bundle string) error {
	switch {
	case len(r.Command) == 0 || r.Command[0] == "":
		return delivery.InvalidNext("run.command", "is empty", "say how the service is started, for example [./server]")
	case !filepath.IsAbs(bundle):
		return delivery.Invalid("bundle", fmt.Sprintf("%q is not an absolute path", bundle))
	}
	return nil
}
