package setting

import (
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/docker/go-units"

	"github.com/swarmctl/swarmctl/api"
)

// Prefix is what all labels of ours begin with.
const Prefix = "swarmctl."

// The labels of a service that its containers are made from.
const (
	LabelPrivileged = Prefix + "privileged" // true or false
	LabelDevices    = Prefix + "devices"    // HOST[:CONTAINER[:PERMISSIONS]], several with commas
	LabelGPUs       = Prefix + "gpus"       // as docker run --gpus
	LabelPID        = Prefix + "pid"        // host
	LabelIPC        = Prefix + "ipc"        // none, private, shareable or host
	LabelShmSize    = Prefix + "shm-size"   // bytes, with a unit: 256m
	LabelSelfStop   = Prefix + "self-stop"  // duration
	LabelPod        = Prefix + "pod"        // the name of another service
)

// Task is what a service's labels say of its containers. Its zero value is
// what the engine does without being told.
type Task struct {
	Privileged bool
	Devices    []Device
	GPUs       *GPUs
	PID        string // host, or empty
	IPC        string // none, private, shareable or host, or empty
	ShmSize    int64  // bytes of /dev/shm; 0: the engine's default
	HostIPs    HostIPs
	// SelfStop is for how long a node may be cut off from the managers before it
	// stops the container, so that it never runs twice; 0: it does not.
	SelfStop time.Duration
	// Pod names the service whose tasks the service's own are sidecars of: each
	// runs on the node of one, in its network namespace. Empty: they are none.
	Pod string
}

// minSelfStop keeps a self-stop above what an election and a lost heartbeat take.
const minSelfStop = 5 * time.Second

// readers has each label with what reads its value. All of them concern
// containers: a change of one is a change of the task.
var readers = map[string]func(*Task, string) error{
	LabelPrivileged: func(t *Task, v string) (err error) { t.Privileged, err = parseBool(v); return err },
	LabelDevices:    func(t *Task, v string) (err error) { t.Devices, err = ParseDevices(v); return err },
	LabelGPUs:       func(t *Task, v string) (err error) { t.GPUs, err = ParseGPUs(v); return err },
	LabelPID:        func(t *Task, v string) (err error) { t.PID, err = oneOf(v, "host"); return err },
	LabelIPC: func(t *Task, v string) (err error) {
		t.IPC, err = oneOf(v, "none", "private", "shareable", "host")
		return err
	},
	LabelShmSize:  func(t *Task, v string) (err error) { t.ShmSize, err = parseSize(v); return err },
	LabelHostIP:   func(t *Task, v string) (err error) { t.HostIPs, err = ParseHostIPs(v); return err },
	LabelSelfStop: func(t *Task, v string) (err error) { t.SelfStop, err = parseDuration(v, minSelfStop); return err },
	LabelPod:      func(t *Task, v string) (err error) { t.Pod, err = parseService(v); return err },
}

// Parse reads those labels of a service that containers are made from. Labels
// of others, and those that ParseLifecycle reads, are passed over; one of ours
// that is unknown or has a bad value is an error of code invalid: it
// would promise what nobody keeps.
func Parse(labels map[string]string) (Task, error) {
	var t Task
	for _, name := range ours(labels) {
		read := readers[name]
		if read == nil {
			if err := checkKnown(name); err != nil {
				return t, err
			}
			continue
		}
		if err := read(&t, labels[name]); err != nil {
			return t, api.Errorf(api.CodeInvalid, "label %s: %v", name, err)
		}
	}
	if t.ShmSize > 0 && (t.IPC == "host" || t.IPC == "none") {
		return t, api.Errorf(api.CodeInvalid, "label %s: with %s=%s the container has no /dev/shm of its own: leave one of the two out", LabelShmSize, LabelIPC, t.IPC)
	}
	return t, nil
}

// SelfStopOf is the self-stop that labels give, of a service or of its
// containers; 0 where they give none that parses.
func SelfStopOf(labels map[string]string) time.Duration {
	v, ok := labels[LabelSelfStop]
	if !ok {
		return 0
	}
	d, err := parseDuration(v, minSelfStop)
	if err != nil {
		return 0 // of a newer program
	}
	return d
}

// PodOf names the service that labels make a service's tasks sidecars of; empty
// where they do not.
func PodOf(labels map[string]string) string {
	name, err := parseService(labels[LabelPod])
	if err != nil {
		return ""
	}
	return name
}

// OfTask returns the labels that containers are made from.
func OfTask(labels map[string]string) map[string]string {
	var out map[string]string
	for name, value := range labels {
		if readers[name] == nil {
			continue
		}
		if out == nil {
			out = map[string]string{}
		}
		out[name] = value
	}
	return out
}

// ours are the names of those labels that are ours, sorted.
func ours(labels map[string]string) []string {
	var names []string
	for name := range labels {
		if strings.HasPrefix(name, Prefix) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

func parseBool(v string) (bool, error) {
	s, err := oneOf(v, "true", "false")
	return s == "true", err
}

func oneOf(v string, known ...string) (string, error) {
	if slices.Contains(known, v) {
		return v, nil
	}
	return "", api.Errorf(api.CodeInvalid, "%q is not a value of it: use %s", v, strings.Join(known, ", "))
}

// serviceName is how services may be named: see servicespec.CheckName.
var serviceName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

func parseService(v string) (string, error) {
	if !serviceName.MatchString(v) || len(v) > 63 {
		return "", api.Errorf(api.CodeInvalid, "%q is no name of a service: give the whole name of the one that the tasks are to run beside, of a stack STACK_SERVICE", v)
	}
	return v, nil
}

func parseSize(v string) (int64, error) {
	n, err := units.RAMInBytes(v)
	if err != nil || n <= 0 {
		return 0, api.Errorf(api.CodeInvalid, "%q is not a size: give bytes, or a number with a unit as in 256m", v)
	}
	return n, nil
}
