package stack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/compose-spec/compose-go/v2/dotenv"
	"github.com/compose-spec/compose-go/v2/interpolation"
	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/tree"
	"github.com/compose-spec/compose-go/v2/types"
	"github.com/sirupsen/logrus"
	"go.yaml.in/yaml/v4"
)

// Bounds of what is read. A file of 200 services has some 200 KB.
const (
	// MaxFile is how large a Compose file, or a file of variables, may be, in bytes.
	MaxFile = 4 << 20
	// maxNodes is how many values a file may have once its anchors are expanded.
	maxNodes = 200_000
	// maxFiles is how many files may be included and extended, all in all.
	maxFiles = 256
)

// File is a Compose file.
type File struct {
	Name    string // as messages name it; "-" for the input
	Content []byte
}

// Input is what a stack is made from.
type Input struct {
	// Name is the stack's. Without one the files are loaded under the name
	// that they give themselves, or "stack".
	Name  string
	Files []File // later ones override earlier ones
	// Dir is where relative paths of the files begin: an absolute path.
	Dir string
	// Env are the variables of whoever deploys.
	Env map[string]string
	// EnvFiles have further variables, which yield to those of Env; nil
	// stands for .env in Dir, if there is one.
	EnvFiles []string
	Profiles []string // the active ones; * for all
	// Read reads a file that the files name, up to limit bytes; of what is
	// larger it returns more than that, or an error. NB: files that are
	// included or extended are looked at through Read first, and refused if
	// need be, but then it is compose-go that opens them.
	Read func(path string, limit int64) ([]byte, error)
}

// Model is what the files say, merged and with the variables filled in.
type Model struct {
	Project *types.Project
	// Ignored are the keys that have no effect, by their path.
	Ignored []Ignored
	// Warnings are remarks about the files, such as a variable that is not set.
	Warnings []string

	in Input
}

// Ignored is a key of the files that has no effect, and why.
type Ignored struct{ Key, Why string }

// String is one line about the key.
func (i Ignored) String() string { return i.Key + ": " + i.Why }

// Load reads the files. An error says where and why: nothing of a stack that
// does not load is used.
func Load(ctx context.Context, in Input) (*Model, error) {
	in, err := in.prepared()
	if err != nil {
		return nil, err
	}
	docs, err := in.examine()
	if err != nil {
		return nil, err
	}
	m := &Model{in: in}
	m.Warnings, err = listening(func() (err error) {
		m.Project, err = in.project(ctx, docs.words())
		return err
	})
	if err != nil {
		return nil, docs.explain(err)
	}
	if err := m.readVariables(); err != nil {
		return nil, err
	}
	m.Project.Name = in.Name
	forgetImplied(m.Project)
	m.Ignored = leftOver(m.Project)
	return m, nil
}

// project is what compose-go makes of the files. It has one host in mind, where a
// container's name and several replicas do not go together; in a cluster nothing
// has that name, so it is out of the way while the model is checked.
func (in Input) project(ctx context.Context, words map[string]bool) (*types.Project, error) {
	details, options := in.details(), func(o *loader.Options) {
		in.options(false)(o)
		o.Interpolate.TypeCastMapping = typesOf(words, o.Interpolate.TypeCastMapping)
	}
	dict, err := loader.LoadModelWithContext(ctx, details, options)
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	services, _ := dict["services"].(map[string]any)
	for service, s := range services {
		s, _ := s.(map[string]any)
		if name, ok := s["container_name"].(string); ok {
			names[service] = name
			delete(s, "container_name")
		}
	}
	p, err := loader.ModelToProject(dict, loader.ToOptions(&details, []func(*loader.Options){options}), details)
	if err != nil {
		return nil, err
	}
	for service, name := range names {
		if s, ok := p.Services[service]; ok {
			s.ContainerName = name
			p.Services[service] = s
		}
	}
	return p, nil
}

// YAML is the model as one file. What secrets hold is not in it.
func (m *Model) YAML() ([]byte, error) {
	p := *m.Project
	p.Name = "" // that of the deploy goes before it
	return encoded(&p)
}

// Merged returns the files as one, with their variables as they are written.
func Merged(ctx context.Context, in Input) ([]byte, error) {
	in, err := in.prepared()
	if err != nil {
		return nil, err
	}
	docs, err := in.examine()
	if err != nil {
		return nil, err
	}
	var dict map[string]any
	_, err = listening(func() (err error) {
		dict, err = loader.LoadModelWithContext(ctx, in.details(), in.options(true))
		return err
	})
	if err != nil {
		return nil, docs.explain(err)
	}
	if networks, ok := dict["networks"].(map[string]any); ok {
		if n, ok := networks[defaultNetwork].(map[string]any); ok {
			if delete(n, "x-implied"); len(n) == 0 {
				delete(networks, defaultNetwork)
			}
		}
		if len(networks) == 0 {
			delete(dict, "networks")
		}
	}
	return encoded(dict)
}

func encoded(v any) ([]byte, error) {
	var b bytes.Buffer
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(v); err != nil {
		return nil, err
	}
	return b.Bytes(), e.Close()
}

// prepared checks what was given and adds the variables of the files.
func (in Input) prepared() (Input, error) {
	if len(in.Files) == 0 {
		return in, errors.New("specify a Compose file (with --compose-file)")
	}
	if in.Name == "" {
		in.Name = "stack"
	} else if err := CheckName(in.Name); err != nil {
		return in, err
	}
	for _, f := range in.Files {
		if len(f.Content) > MaxFile {
			return in, tooLarge(f.Name, MaxFile)
		}
	}
	files, optional := in.EnvFiles, false
	if files == nil {
		files, optional = []string{filepath.Join(in.Dir, ".env")}, true
	}
	env := map[string]string{}
	for _, name := range files {
		data, err := in.read(name, MaxFile)
		if optional && errors.Is(err, fs.ErrNotExist) {
			continue
		} else if err != nil {
			return in, err
		}
		// Variables of the caller may be used in it, those of the file before too.
		vars, err := dotenv.ParseWithLookup(bytes.NewReader(data), func(k string) (string, bool) {
			if v, ok := in.Env[k]; ok {
				return v, true
			}
			v, ok := env[k]
			return v, ok
		})
		if err != nil {
			return in, fmt.Errorf("%s: %w", name, err)
		}
		maps.Copy(env, vars)
	}
	maps.Copy(env, in.Env)
	env["COMPOSE_PROJECT_NAME"] = in.Name
	in.Env = env
	return in, nil
}

func tooLarge(name string, limit int64) error {
	return fmt.Errorf("%s: it is larger than %d bytes", name, limit)
}

// read reads a file that is named, and not more than limit bytes of it.
func (in Input) read(name string, limit int64) ([]byte, error) {
	if !filepath.IsAbs(name) {
		name = filepath.Join(in.Dir, name)
	}
	data, err := in.Read(name, limit)
	if err == nil && int64(len(data)) > limit {
		err = tooLarge(name, limit)
	}
	return data, err
}

// implied is what every stack has without saying it: the network of services
// that name none, which others may name too.
var implied = types.ConfigFile{Filename: "<default>", Content: []byte("networks:\n  default:\n    x-implied: true\n")}

// forgetImplied takes the mark off, and the network where no service is on it.
func forgetImplied(p *types.Project) {
	n := p.Networks[defaultNetwork]
	delete(n.Extensions, "x-implied")
	if len(n.Extensions) == 0 {
		n.Extensions = nil
	}
	p.Networks[defaultNetwork] = n
	unsaid := reflect.ValueOf(n).IsZero()
	for _, s := range p.Services {
		if _, ok := s.Networks[defaultNetwork]; ok {
			unsaid = false
		}
	}
	if unsaid {
		delete(p.Networks, defaultNetwork)
	}
}

func (in Input) details() types.ConfigDetails {
	d := types.ConfigDetails{WorkingDir: in.Dir, Environment: maps.Clone(in.Env), ConfigFiles: []types.ConfigFile{implied}}
	for _, f := range in.Files {
		content := f.Content
		if content == nil {
			content = []byte{} // or it would read the file itself
		}
		d.ConfigFiles = append(d.ConfigFiles, types.ConfigFile{Filename: f.Name, Content: content})
	}
	return d
}

func (in Input) options(raw bool) func(*loader.Options) {
	return func(o *loader.Options) {
		// Its own names are lower case; ours are made when the model is converted.
		o.SetProjectName(loader.NormalizeProjectName("s"+in.Name), true)
		o.SkipNormalization = true
		o.SkipInterpolation = raw
		o.SkipResolveEnvironment, o.SkipResolveLabels = true, true
		o.MaxNodeVisits = maxNodes
		o.Profiles = in.Profiles
		o.Interpolate.LookupValue = func(k string) (string, bool) {
			v, ok := in.Env[k]
			return v, ok
		}
	}
}

// typesOf are the types of those keys that can be in files of these words. compose-go
// holds every text of the files against all of them: for a large file that is a quarter of
// the time.
func typesOf(words map[string]bool, all map[tree.Path]interpolation.Cast) map[tree.Path]interpolation.Cast {
	out := maps.Clone(all)
	maps.DeleteFunc(out, func(path tree.Path, _ interpolation.Cast) bool {
		return slices.ContainsFunc(path.Parts(), func(key string) bool {
			return key != tree.PathMatchAll && key != tree.PathMatchList && !words[key]
		})
	})
	return out
}

// hearing has one loader at a time speak to the logger that all share.
var hearing sync.Mutex

// obsolete is a remark about every file that Docker's own CLI still wants.
var obsolete = regexp.MustCompile("the attribute `version` is obsolete")

// listening runs compose-go and returns what it would have logged. It turns a
// panic of its parsers into an error: a file must not bring a program down.
func listening(load func() error) (warnings []string, err error) {
	hearing.Lock()
	defer hearing.Unlock()
	log := logrus.StandardLogger()
	var heard ear
	was := log.ReplaceHooks(logrus.LevelHooks{logrus.WarnLevel: {&heard}})
	out := log.Out
	log.SetOutput(io.Discard)
	defer func() {
		log.ReplaceHooks(was)
		log.SetOutput(out)
		if p := recover(); p != nil {
			err = fmt.Errorf("the files cannot be read: %v", p)
		}
		warnings = heard
	}()
	return heard, load()
}

// ear is a hook that keeps what is logged.
type ear []string

// Levels are those that it hears.
func (*ear) Levels() []logrus.Level { return []logrus.Level{logrus.WarnLevel} }

// Fire keeps a remark, once.
func (e *ear) Fire(entry *logrus.Entry) error {
	if !obsolete.MatchString(entry.Message) && !slices.Contains(*e, entry.Message) {
		*e = append(*e, entry.Message)
	}
	return nil
}

// readVariables fills in what services take from env_file and label_file, by
// Compose's rules: what a service says itself goes first.
func (m *Model) readVariables() error {
	for name, s := range m.Project.Services {
		env, err := m.serviceEnv(&s)
		if err != nil {
			return fmt.Errorf("services.%s.env_file: %w", name, err)
		}
		s.Environment = env
		labels := types.Labels{}
		for _, file := range s.LabelFiles {
			data, err := m.in.read(file, MaxFile)
			if err != nil {
				return fmt.Errorf("services.%s.label_file: %w", name, err)
			}
			if err := dotenv.ParseWithFormat(bytes.NewReader(data), file, labels, mapLookup(labels), ""); err != nil {
				return fmt.Errorf("services.%s.label_file: %s: %w", name, file, err)
			}
		}
		maps.Copy(labels, s.Labels)
		s.Labels = labels
		m.Project.Services[name] = s
	}
	return nil
}

func mapLookup(m map[string]string) func(string) (string, bool) {
	return func(k string) (string, bool) { v, ok := m[k]; return v, ok }
}

func (m *Model) serviceEnv(s *types.ServiceConfig) (types.MappingWithEquals, error) {
	own := s.Environment.Resolve(mapLookup(m.in.Env))
	vars := own.ToMapping()
	lookup := func(k string) (string, bool) {
		if v, ok := m.in.Env[k]; ok {
			return v, true
		}
		v, ok := vars[k]
		return v, ok
	}
	out := types.MappingWithEquals{}
	for _, file := range s.EnvFiles {
		data, err := m.in.read(file.Path, MaxFile)
		if errors.Is(err, fs.ErrNotExist) && !bool(file.Required) {
			continue
		} else if err != nil {
			return nil, err
		}
		if err := dotenv.ParseWithFormat(bytes.NewReader(data), file.Path, vars, lookup, file.Format); err != nil {
			return nil, fmt.Errorf("%s: %w", file.Path, err)
		}
	}
	out.OverrideBy(vars.ToMappingWithEquals())
	return out.OverrideBy(own), nil
}

var stackName = regexp.MustCompile(`^[a-zA-Z0-9](?:[-_]*[A-Za-z0-9]+)*$`)

// maxName is how long the name of a service may be, and so that of a stack
// with one letter behind it.
const maxName = 63

// CheckName refuses what cannot be the name of a stack, as the names of its
// services begin with it.
func CheckName(name string) error {
	switch {
	case strings.TrimSpace(name) == "":
		return fmt.Errorf("invalid stack name: %q", name)
	case !stackName.MatchString(name):
		return fmt.Errorf("invalid stack name: %q: use letters and digits, with - and _ between them", name)
	case len(name) > maxName-2:
		return fmt.Errorf("invalid stack name: %q has %d characters, and %d are the most that leave room for the name of a service", name, len(name), maxName-2)
	}
	return nil
}
