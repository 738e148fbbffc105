package api_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/swarmctl/swarmctl/api"
)

func TestCredentialsAreNotTold(t *testing.T) {
	s := &api.Service{ID: "s", RegistryAuth: "c2VjcmV0", PreviousRegistryAuth: "b2xk"}
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	for _, h := range []slog.Handler{slog.NewJSONHandler(&log, nil), slog.NewTextHandler(&log, nil)} {
		slog.New(h).Info("x", "service", s, "auth", s.RegistryAuth)
	}
	told := string(data) + fmt.Sprintf("%v %+v %#v %s %q", *s, *s, *s, s.RegistryAuth, s.RegistryAuth) + log.String()
	if strings.Contains(told, "c2VjcmV0") || strings.Contains(told, "b2xk") {
		t.Errorf("told: %s", told)
	}
	if !strings.Contains(told, "credentials") {
		t.Errorf("nothing says that there are credentials: %s", told)
	}
}
