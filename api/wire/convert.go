package wire

import (
	"encoding/json"
	"fmt"

	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/swarmctl/swarmctl/api"
)

// EncodeTaskStatus makes the message for what is observed of a task.
func EncodeTaskStatus(id api.TaskID, s *api.TaskStatus) *TaskStatus {
	m := &TaskStatus{TaskId: string(id), State: uint32(s.State), Message: s.Message, Err: s.Err}
	if !s.At.IsZero() {
		m.At = timestamppb.New(s.At)
	}
	if c := s.Container; c != nil {
		m.Container = &Container{Id: c.ID, Pid: int64(c.PID), ExitCode: int64(c.ExitCode)}
		for _, p := range c.Ports {
			m.Container.Ports = append(m.Container.Ports, &Port{Protocol: p.Protocol, Target: p.Target, Published: p.Published})
		}
	}
	return m
}

// DecodeTaskStatus is the inverse of EncodeTaskStatus. A message without a task's ID, or
// with a state that this program does not know, is invalid.
func DecodeTaskStatus(m *TaskStatus) (api.TaskID, api.TaskStatus, error) {
	if m.GetTaskId() == "" {
		return "", api.TaskStatus{}, api.Errorf(api.CodeInvalid, "task status without a task ID")
	}
	if m.GetState() > uint32(api.TaskOrphaned) {
		return "", api.TaskStatus{}, api.Errorf(api.CodeInvalid, "status of task %s: state %d is unknown: upgrade this node", m.GetTaskId(), m.GetState())
	}
	s := api.TaskStatus{State: api.TaskState(m.GetState()), Message: m.GetMessage(), Err: m.GetErr()}
	if m.GetAt() != nil {
		s.At = m.GetAt().AsTime()
	}
	if c := m.GetContainer(); c != nil {
		s.Container = &api.ContainerStatus{ID: c.GetId(), PID: int(c.GetPid()), ExitCode: int(c.GetExitCode())}
		for _, p := range c.GetPorts() {
			s.Container.Ports = append(s.Container.Ports, api.PortStatus{Protocol: p.GetProtocol(), Target: p.GetTarget(), Published: p.GetPublished()})
		}
	}
	return api.TaskID(m.GetTaskId()), s, nil
}

// EncodeTask makes the message that tells a node of one of its tasks.
func EncodeTask(t *api.Task) (*Task, error) {
	m := &Task{
		Id: string(t.ID), ServiceId: string(t.ServiceID), SpecVersion: t.SpecVersion, Slot: int64(t.Slot),
		Desired: uint32(t.Desired), Status: EncodeTaskStatus(t.ID, &t.Status), Networks: encodeAttachments(t.Networks),
		PodOf: string(t.PodOf),
	}
	if len(t.GenericResources) == 0 {
		return m, nil
	}
	data, err := json.Marshal(t.GenericResources)
	if err != nil {
		return nil, fmt.Errorf("encode resources of task %s: %w", t.ID, err)
	}
	m.GenericResourcesJson = data
	return m, nil
}

// DecodeTask is the inverse of EncodeTask, for the node that was told. What a node
// has no need to know (restart delays, versions) stays empty.
func DecodeTask(m *Task, node api.NodeID) (*api.Task, error) {
	t := &api.Task{
		ID: api.TaskID(m.GetId()), ServiceID: api.ServiceID(m.GetServiceId()), SpecVersion: m.GetSpecVersion(),
		Slot: int(m.GetSlot()), NodeID: node, Desired: api.TaskState(m.GetDesired()),
		PodOf: api.TaskID(m.GetPodOf()),
	}
	if m.GetId() == "" || m.GetServiceId() == "" {
		return nil, api.Errorf(api.CodeInvalid, "task without an ID or a service")
	}
	if m.GetDesired() > uint32(api.TaskOrphaned) {
		return nil, api.Errorf(api.CodeInvalid, "task %s: desired state %d is unknown: upgrade this node", t.ID, m.GetDesired())
	}
	networks, err := decodeAttachments(m.GetNetworks())
	if err != nil {
		return nil, fmt.Errorf("task %s: %w", t.ID, err)
	}
	t.Networks = networks
	if m.GetStatus() != nil {
		_, s, err := DecodeTaskStatus(m.GetStatus())
		if err != nil {
			return nil, fmt.Errorf("task %s: %w", t.ID, err)
		}
		t.Status = s
	}
	if data := m.GetGenericResourcesJson(); len(data) > 0 {
		if err := json.Unmarshal(data, &t.GenericResources); err != nil {
			return nil, api.Errorf(api.CodeInvalid, "resources of task %s: %v", t.ID, err)
		}
	}
	return t, nil
}

// EncodeSpec makes the message for one version of a service's spec.
func EncodeSpec(s *api.SpecVersion) (*Spec, error) {
	data, err := json.Marshal(s.Spec)
	if err != nil {
		return nil, fmt.Errorf("encode spec of service %s: %w", s.ServiceID, err)
	}
	return &Spec{ServiceId: string(s.ServiceID), Version: s.Version, SpecJson: data, RegistryAuth: string(s.RegistryAuth), Image: EncodeImage(s.Image)}, nil
}

// DecodeSpec is the inverse of EncodeSpec.
func DecodeSpec(m *Spec) (*api.SpecVersion, error) {
	s := &api.SpecVersion{ServiceID: api.ServiceID(m.GetServiceId()), Version: m.GetVersion(), RegistryAuth: api.RegistryAuth(m.GetRegistryAuth()), Image: DecodeImage(m.GetImage())}
	if err := json.Unmarshal(m.GetSpecJson(), &s.Spec); err != nil {
		return nil, api.Errorf(api.CodeInvalid, "spec %d of service %s: %v", m.GetVersion(), m.GetServiceId(), err)
	}
	return s, nil
}

// EncodeImage makes the message for an image; nil for none.
func EncodeImage(i *api.Image) *Image {
	if i == nil {
		return nil
	}
	return &Image{Id: i.ID, Content: i.Content, Platform: i.Platform, Size: i.Size}
}

// DecodeImage is the inverse of EncodeImage.
func DecodeImage(m *Image) *api.Image {
	if m == nil {
		return nil
	}
	return &api.Image{ID: m.GetId(), Content: m.GetContent(), Platform: m.GetPlatform(), Size: m.GetSize()}
}

// EncodeContent makes the message for a secret or a config.
func EncodeContent(c *api.Content) *Content {
	return &Content{Id: c.ID, Data: c.Data, Template: c.Template, Gone: c.Gone}
}

// DecodeContent is the inverse of EncodeContent.
func DecodeContent(m *Content) (*api.Content, error) {
	if m.GetId() == "" {
		return nil, api.Errorf(api.CodeInvalid, "secret or config without an ID")
	}
	return &api.Content{ID: m.GetId(), Data: m.GetData(), Template: m.GetTemplate(), Gone: m.GetGone()}, nil
}
