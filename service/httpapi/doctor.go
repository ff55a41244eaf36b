package httpapi

// doctorReport answers the doctor's last report to an operator of the platform. It looks at nothing itself.
func (s *Server) doctorReport(c *call) error {
	if err := c.tenants.Operates(c.ctx(), c.caller); err != nil {
		return err
	}
	return c.sendCached(c.caller, envelope{s.cfg.Checkup.Last()})
}
