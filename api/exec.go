package api

// ExecTarget is the container that a command for a task runs in: what
// `swarmctl service exec` asks for before it speaks to the task's engine.
type ExecTarget struct {
	Task      TaskID
	Name      string // web.1.<id>
	Place     string // web.1, or agent.h3 of a global service
	Node      string // its hostname
	Container string
}
