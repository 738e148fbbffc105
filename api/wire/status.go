package wire

import (
	"context"
	"errors"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/swarmctl/swarmctl/api"
)

// grpcCodes is how the codes of package api travel as codes of gRPC.
var grpcCodes = map[api.Code]codes.Code{
	api.CodeInvalid:     codes.InvalidArgument,
	api.CodeWrongKey:    codes.Unauthenticated,
	api.CodeForbidden:   codes.PermissionDenied,
	api.CodeNotFound:    codes.NotFound,
	api.CodeConflict:    codes.AlreadyExists,
	api.CodeOutdated:    codes.Aborted,
	api.CodeUnavailable: codes.Unavailable,
	api.CodeInternal:    codes.Internal,
	api.CodeUnsupported: codes.Unimplemented,
	api.CodeNotLeader:   codes.FailedPrecondition,
}

// ToStatus makes an error fit to be returned from a gRPC method: its code and
// its whole sentence arrive at the caller, who turns it back with FromStatus.
func ToStatus(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, err.Error())
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, err.Error())
	}
	return status.Error(grpcCodes[api.CodeOf(err)], err.Error())
}

// FromStatus is the inverse of ToStatus for the error of a gRPC call. What the
// transport itself says (no connection, deadline passed) has code unavailable.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	switch s.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return api.Errorf(api.CodeUnavailable, "no answer in time: %s", s.Message())
	}
	for code, g := range grpcCodes {
		if g == s.Code() {
			return api.Errorf(code, "%s", s.Message())
		}
	}
	return api.Errorf(api.CodeInternal, "%s", s.Message())
}
