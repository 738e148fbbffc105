package api

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSecretsOfVolumesAreNotTold(t *testing.T) {
	got := MaskOptions(map[string]string{
		"type": "cifs", "device": "//nas/share", "o": "addr=10.0.0.1,username=me,password=geheim,vers=3.0,pass=geheim",
		"api-token": "geheim", "Secret_Key": "geheim", "url": "https://me:geheim@host/x", "odd": "://geheim\x7f", "empty-secret": "",
	})
	want := map[string]string{
		"type": "cifs", "device": "//nas/share", "o": "addr=10.0.0.1,username=me,password=***,vers=3.0,pass=***",
		"api-token": "***", "Secret_Key": "***", "url": "https://me:***@host/x", "odd": "***", "empty-secret": "",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if MaskOptions(nil) != nil || cmp.Diff(got, MaskOptions(got)) != "" {
		t.Error("to mask again changes something")
	}
	if text := ShowOptions("", map[string]string{"o": "password=geheim", "a": "b"}); text != "driver local with a=b o=password=***" {
		t.Errorf("shown as %q", text)
	}
}

func FuzzMaskOptions(f *testing.F) {
	f.Add("o", "username=a,password=")
	f.Add("url", "ftp://a:")
	f.Fuzz(func(t *testing.T, name, before string) {
		const secret = "gEhEiM"
		if strings.Contains(name+before, secret) {
			return // it would be found where it may stand
		}
		if out := MaskOptions(map[string]string{name: "password=" + secret + "," + before, "token": secret}); strings.Contains(out[name]+out["token"], secret) {
			t.Errorf("%q: %q", name, out)
		}
	})
}
