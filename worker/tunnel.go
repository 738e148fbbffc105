package worker

import (
	"context"
	"io"
	"net"
	"sync"

	"google.golang.org/grpc/metadata"

	"github.com/swarmctl/swarmctl/api/wire"
)

// tunnel dials the manager back and joins the stream to the engine, or to the
// node's daemon where the tunnel's ID says so. It ends when either side does,
// or with the session: whoever asked for it is behind the same manager.
func (s *session) tunnel(id string) {
	ctx, cancel := context.WithCancel(metadata.AppendToOutgoingContext(s.ctx, "tunnel-id", id))
	stream, err := s.client.Tunnel(ctx)
	if err != nil {
		cancel()
		s.log.Warn("tunnel not opened", "tunnel", id, "err", err)
		return
	}
	manager := wire.NewConn(stream, "tunnel "+id, cancel) // it cancels once what was written has arrived
	defer func() {
		_ = manager.Close()
		<-manager.Done()
	}()
	near, err := s.dialNear(ctx, id)
	if err != nil {
		s.log.Warn("tunnel without an end", "tunnel", id, "err", err)
		return
	}
	defer near.Close()
	stop := context.AfterFunc(ctx, func() { _ = near.Close() })
	defer stop()
	splice(manager, near)
}

func (s *session) dialNear(ctx context.Context, id string) (net.Conn, error) {
	if wire.IsToDaemon(id) && s.cfg.DialDaemon != nil {
		return s.cfg.DialDaemon(ctx)
	}
	return s.cfg.Engine.Dial(ctx)
}

// splice copies both ways and passes the end of each direction on.
func splice(a, b net.Conn) {
	var wg sync.WaitGroup
	wg.Go(func() { pour(a, b) })
	wg.Go(func() { pour(b, a) })
	wg.Wait()
}

func pour(to, from net.Conn) {
	_, _ = io.Copy(to, from)
	if half, ok := to.(interface{ CloseWrite() error }); ok {
		_ = half.CloseWrite()
		return
	}
	_ = to.Close()
}
