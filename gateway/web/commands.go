package web

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"time"

	"fieldferry/gateway/command"
)

// Commander takes commands, within the limits of the configuration.
type Commander interface {
	// Command returns what became of a request, or an error when that is not
	// known when ctx ends.
	Command(ctx context.Context, a command.Actor, text []byte) (command.Reply, error)
	PauseCommands(a command.Actor, pause bool) error
}

// commandTime is how long a person waits for an answer.
const commandTime = time.Minute

// command is POST /api/v1/commands: a request as of MQTT; without an id it gets
// a new one.
func (s *Server) command(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, command.MaxRequest))
	if err != nil {
		problem(w, http.StatusRequestEntityTooLarge, "size", "The request is too large.")
		return
	}
	if s.opts.Commands == nil {
		problem(w, http.StatusNotImplemented, "commands", "This server takes no commands.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), commandTime)
	defer cancel()
	reply, err := s.opts.Commands.Command(ctx, command.Actor{Who: who(r).Name, By: command.ByWeb}, named(text))
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		problem(w, http.StatusGatewayTimeout, "slow", "Its result is not known yet; ask again by the same id.")
	case err != nil:
		problem(w, http.StatusNotImplemented, "commands", err.Error())
	default:
		writeJSON(w, reply)
	}
}

// named gives a request an id if it has none, so that a person need not.
func named(text []byte) []byte {
	var r map[string]json.RawMessage
	if json.Unmarshal(text, &r) != nil || r == nil || r["id"] != nil {
		return text
	}
	r["id"], _ = json.Marshal(rand.Text())
	with, err := json.Marshal(r)
	if err != nil {
		return text
	}
	return with
}

// pauseCommands is POST /api/v1/commands/pause, and /resume.
func (s *Server) pauseCommands(pause bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		err := errors.New("this server takes no commands")
		if s.opts.Commands != nil {
			err = s.opts.Commands.PauseCommands(command.Actor{Who: who(r).Name, By: command.ByWeb}, pause)
		}
		if err != nil {
			problem(w, http.StatusNotImplemented, "commands", err.Error())
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}
}
