package api

import (
	"errors"
	"fmt"
)

// Code is the kind of an error that crosses a wire. Callers test for it with
// errors.Is against the sentinels below, never by an error's text.
type Code string

// The codes, each with the HTTP status that the Docker API answers with.
const (
	CodeInvalid     Code = "invalid"     // 400: the request can never succeed as it is
	CodeWrongKey    Code = "wrong_key"   // 401: an unlock key that does not unlock
	CodeForbidden   Code = "forbidden"   // 403: the caller's identity or token does not allow it
	CodeNotFound    Code = "not_found"   // 404
	CodeConflict    Code = "conflict"    // 409: the name is taken, or the object is in the wrong state
	CodeOutdated    Code = "outdated"    // 409: the version that was to be replaced is not the current one
	CodeUnavailable Code = "unavailable" // 503: no leader, no engine, not a member of a cluster
	CodeUnsupported Code = "unsupported" // 501: a valid request that this version does not carry out
	CodeInternal    Code = "internal"    // 500: the program's own fault
	CodeNotLeader   Code = "not_leader"  // never leaves the managers: ask the leader
)

// Error is an error with a code.
type Error struct {
	Code    Code
	Message string
}

// Error returns the message.
func (e *Error) Error() string { return e.Message }

// Is makes errors.Is(err, ErrNotFound) true for every error of that code.
func (e *Error) Is(target error) bool {
	var t *Error
	return errors.As(target, &t) && t.Message == "" && t.Code == e.Code
}

// Sentinels for errors.Is; each stands for every error of its code.
var (
	ErrInvalid     = &Error{Code: CodeInvalid}
	ErrWrongKey    = &Error{Code: CodeWrongKey}
	ErrForbidden   = &Error{Code: CodeForbidden}
	ErrNotFound    = &Error{Code: CodeNotFound}
	ErrConflict    = &Error{Code: CodeConflict}
	ErrOutdated    = &Error{Code: CodeOutdated}
	ErrUnavailable = &Error{Code: CodeUnavailable}
	ErrUnsupported = &Error{Code: CodeUnsupported}
	ErrInternal    = &Error{Code: CodeInternal}
	ErrNotLeader   = &Error{Code: CodeNotLeader}
)

// Errorf makes an error of the given code.
func Errorf(code Code, format string, args ...any) error {
	return &Error{Code: code, Message: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the first coded error in err's chain, and
// CodeInternal where there is none.
func CodeOf(err error) Code {
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return CodeInternal
}
