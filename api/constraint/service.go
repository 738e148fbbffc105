package constraint

// Service is a constraint on what else a node runs.
type Service struct {
	// Name is the service's name, of which the case counts: there may be both a
	// web and a Web.
	Name string
	// Not asks for a node that runs no task of the service, instead of one that does.
	Not bool
}

// String returns the constraint in its canonical form, without spaces.
func (s Service) String() string {
	if s.Not {
		return keys[serviceName] + "!=" + s.Name
	}
	return keys[serviceName] + "==" + s.Name
}

// Services returns the constraints of the list that are on services.
func (l List) Services() []Service {
	var list []Service
	for i := range l {
		if c := &l[i]; c.field == serviceName {
			list = append(list, Service{Name: c.value, Not: c.not})
		}
	}
	return list
}
