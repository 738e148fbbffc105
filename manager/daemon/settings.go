package daemon

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"google.golang.org/protobuf/proto"

	"github.com/swarmctl/swarmctl/api"
	"github.com/swarmctl/swarmctl/api/wire"
)

// settings is what a member must know to start again: how it was told to
// listen and whom it knew last. It is written anew, whole, when that changes.
type settings struct {
	ListenAddr    string // host:port of the cluster's port
	AdvertiseAddr string // host:port that others reach it at
	DataPathAddr  string `json:",omitempty"`
	// Cluster is the last wire.ClusterInfo that a manager sent: the managers
	// to talk to and the gossip keys. As JSON of protobuf's binary form.
	Cluster []byte `json:",omitempty"`
}

const settingsFile = "node/settings.json"

func loadSettings(dir string) (settings, error) {
	var s settings
	data, err := os.ReadFile(filepath.Join(dir, settingsFile))
	if err != nil {
		return s, fmt.Errorf("read the node's settings: %w", err)
	}
	if err := json.Unmarshal(data, &s); err != nil {
		return s, api.Errorf(api.CodeInvalid, "%s: %v: put the file back from a backup, or leave and join again", filepath.Join(dir, settingsFile), err)
	}
	return s, nil
}

func (s settings) save(dir string) error {
	data, err := json.MarshalIndent(s, "", "  ")
	if err == nil {
		err = writeFile(filepath.Join(dir, settingsFile), data)
	}
	if err != nil {
		return fmt.Errorf("save the node's settings: %w", err)
	}
	return nil
}

// clusterInfo is the decoded Cluster; empty where there is none.
func (s settings) clusterInfo() *wire.ClusterInfo {
	info := &wire.ClusterInfo{}
	if err := proto.Unmarshal(s.Cluster, info); err != nil {
		return &wire.ClusterInfo{}
	}
	return info
}

// writeFile replaces a file at once: written aside, flushed, renamed.
func writeFile(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func removeFile(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

const raftDir = "raft"
