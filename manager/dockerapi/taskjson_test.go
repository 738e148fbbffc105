package dockerapi

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/docker/docker/api/types/swarm"
	"pgregory.net/rapid"
)

// Whatever a task holds, of all that Docker's type has room for, the row is
// what json.Marshal makes of it.
func TestTasksAreWrittenAsJSONMarshalWritesThem(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var task swarm.Task
		fill(rt, reflect.ValueOf(&task).Elem())
		spec, err := json.Marshal(task.Spec)
		if err != nil {
			rt.Fatal(err)
		}
		want, err := json.Marshal(task)
		if err != nil {
			rt.Fatal(err)
		}
		var networks []byte
		if len(task.NetworksAttachments) > 0 {
			if networks, err = json.Marshal(task.NetworksAttachments); err != nil {
				rt.Fatal(err)
			}
		}
		got, err := appendTask([]byte("["), &task, spec, networks)
		if err != nil || string(got) != "["+string(want) {
			rt.Errorf("%v\n got: %s\nwant: [%s", err, got, want)
		}
	})
}

func TestATimeThatJSONCannotHoldIsRefusedAsByJSONMarshal(t *testing.T) {
	task := swarm.Task{Status: swarm.TaskStatus{Timestamp: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}}
	if _, err := json.Marshal(task); err == nil {
		t.Fatal("json.Marshal takes it")
	}
	if row, err := appendTask(nil, &task, []byte("{}"), nil); err == nil {
		t.Errorf("it was written: %s", row)
	}
}

// fill gives every field of a value something or nothing. It panics at a kind
// that none of Docker's types has had so far.
func fill(rt *rapid.T, v reflect.Value) {
	if at, ok := v.Addr().Interface().(*time.Time); ok {
		*at = time.Unix(rapid.Int64Range(-1<<35, 1<<37).Draw(rt, "seconds"), rapid.Int64Range(0, 1e9-1).Draw(rt, "nanoseconds"))
		if zone := rapid.IntRange(-23*60, 23*60).Draw(rt, "zone"); zone != 0 {
			*at = at.In(time.FixedZone("", zone*60))
		} else {
			*at = at.UTC()
		}
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			fill(rt, v.Field(i))
		}
	case reflect.Pointer:
		if rapid.Bool().Draw(rt, "some") {
			v.Set(reflect.New(v.Type().Elem()))
			fill(rt, v.Elem())
		}
	case reflect.Slice:
		if n := rapid.IntRange(-1, 2).Draw(rt, "length"); n >= 0 {
			v.Set(reflect.MakeSlice(v.Type(), n, n))
			for i := range n {
				fill(rt, v.Index(i))
			}
		}
	case reflect.Map:
		if n := rapid.IntRange(-1, 2).Draw(rt, "length"); n >= 0 {
			v.Set(reflect.MakeMap(v.Type()))
			for range n {
				key, value := reflect.New(v.Type().Key()).Elem(), reflect.New(v.Type().Elem()).Elem()
				fill(rt, key)
				fill(rt, value)
				v.SetMapIndex(key, value)
			}
		}
	case reflect.String:
		// Go's own strings may hold what is no UTF-8; an engine's messages do.
		v.SetString(rapid.OneOf(rapid.StringMatching(`[a-z0-9]{0,25}`), rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(rt, "text"))
	case reflect.Bool:
		v.SetBool(rapid.Bool().Draw(rt, "bool"))
	case reflect.Int, reflect.Int64:
		v.SetInt(rapid.Int64().Draw(rt, "int"))
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		v.SetUint(rapid.Uint64Range(0, math.MaxUint64>>(64-v.Type().Bits())).Draw(rt, "uint"))
	default:
		panic("fill knows no " + v.Type().String())
	}
}
