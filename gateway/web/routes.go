package web

import (
	"net/http"
	"strconv"
)

// route is one row of the API. Open routes need no account.
type route struct {
	pattern string
	role    Role // empty: open
	handle  http.HandlerFunc
}

// table is every route but those of the page's own files.
func (s *Server) table() []route {
	return []route{
		{"GET /healthz", "", s.healthz},
		{"GET /readyz", "", s.readyz},

		{"GET /metrics", "", s.metrics}, // has a rule of its own

		{"GET /api/v1/me", "", s.me},
		{"POST /api/v1/login", "", s.login},
		{"POST /api/v1/logout", "", s.logout},
		{"POST /api/v1/setup", "", s.first},

		{"GET /api/v1/status", Read, s.status},
		{"GET /api/v1/events", Read, s.events},
		{"GET /api/v1/sources/{source}/values", Read, s.values},
		{"GET /api/v1/can/{source}/frames", Read, s.frames},
		{"GET /api/v1/can/{source}/frames/{id}", Read, s.signals},
		{"GET /api/v1/can/{source}/roll", Read, s.rolls},
		{"GET /api/v1/history", Read, s.history},
		{"GET /api/v1/sources", Read, s.sources},
		{"GET /api/v1/alarms", Read, s.alarms},
		{"GET /api/v1/buffer", Read, s.buffer},
		{"GET /api/v1/uplink", Read, s.uplink},
		{"GET /api/v1/can/{source}/log", Read, s.candump},
		{"GET /api/v1/modbus/{line}/plan", Read, s.plan},
		{"GET /api/v1/modbus/{line}/units", Read, s.units},
		{"GET /api/v1/modbus/{line}/exchanges", Read, s.exchanges},
		{"POST /api/v1/modbus/{line}/read", Operate, s.read},
		{"POST /api/v1/modbus/{line}/scan", Operate, s.startScan},
		{"GET /api/v1/modbus/{line}/scan", Operate, s.lastScan},
		{"DELETE /api/v1/modbus/{line}/scan", Operate, s.stopScan},
		{"POST /api/v1/modbus/{line}/find", Operate, s.startFind},
		{"GET /api/v1/modbus/{line}/find", Operate, s.lastFind},
		{"DELETE /api/v1/modbus/{line}/find", Operate, s.stopFind},
		{"POST /api/v1/commands", Operate, s.command},
		{"POST /api/v1/commands/pause", Operate, s.pauseCommands(true)},
		{"POST /api/v1/commands/resume", Operate, s.pauseCommands(false)},
		{"GET /api/v1/config", Read, s.config},
		{"POST /api/v1/config/check", Operate, s.checkConfig},
		{"GET /api/v1/config/attempt", Read, s.configAttempt},
		{"POST /api/v1/config/apply", Admin, s.applyConfig},
		{"POST /api/v1/config/keep", Admin, s.keepConfig},
		{"POST /api/v1/config/rollback", Admin, s.rollBackConfig},
		{"GET /api/v1/logs", Read, s.logs},
		{"POST /api/v1/bundle", Admin, s.bundle},
		{"GET /api/v1/mark", Read, s.lastMark},
		{"POST /api/v1/mark", Operate, s.mark},
	}
}

func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	for _, r := range s.table() {
		handle := r.handle
		if r.role != "" {
			handle = s.needs(r.role, handle)
		}
		mux.HandleFunc(r.pattern, handle)
	}
	mux.HandleFunc("GET /", s.asset)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		problem(w, http.StatusNotFound, "route", "There is nothing at "+strconv.Quote(r.Method+" "+r.URL.Path)+".")
	})
	return s.guard(mux)
}
