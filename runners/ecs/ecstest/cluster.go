package ecstest

import (
	"slices"
	"strings"
)

type cluster struct {
	name      string
	arn       string
	status    string
	providers []string
	tokens    map[string]*token // by clientToken
}

type clusterView struct {
	ClusterARN               string   `json:"clusterArn"`
	ClusterName              string   `json:"clusterName"`
	Status                   string   `json:"status"`
	RunningTasks             int      `json:"runningTasksCount"`
	PendingTasks             int      `json:"pendingTasksCount"`
	ActiveServices           int      `json:"activeServicesCount"`
	ContainerInstances       int      `json:"registeredContainerInstancesCount"`
	CapacityProviders        []string `json:"capacityProviders"`
	Tags                     []tag    `json:"tags"`
	DefaultCapacityProviders []any    `json:"defaultCapacityProviderStrategy"`
}

// failureView is what of several things could not be done.
type failureView struct {
	ARN    string `json:"arn,omitempty"`
	Reason string `json:"reason"`
	Detail string `json:"detail,omitempty"`
}

// AddCluster makes a cluster with Fargate's capacity providers.
func (e *Endpoint) AddCluster(name string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.addCluster(name)
}

func (e *Endpoint) addCluster(name string) *cluster {
	c := &cluster{
		name: name, arn: arn("ecs", "cluster/"+name), status: "ACTIVE", providers: []string{"FARGATE", "FARGATE_SPOT"}, tokens: map[string]*token{},
	}
	e.clusters[name] = c
	return c
}

// clusterOf finds a cluster by its name or ARN.
func (e *Endpoint) clusterOf(id string) (*cluster, error) {
	if id == "" {
		id = "default"
	}
	c := e.clusters[strings.TrimPrefix(id, arn("ecs", "cluster/"))]
	if c == nil || c.status != "ACTIVE" {
		return nil, fault("ClusterNotFoundException", "Cluster not found.")
	}
	return c, nil
}

func (e *Endpoint) viewCluster(c *cluster) clusterView {
	v := clusterView{
		ClusterARN: c.arn, ClusterName: c.name, Status: c.status, CapacityProviders: c.providers, Tags: e.tags[c.arn], DefaultCapacityProviders: []any{},
	}
	for _, t := range e.tasks.byID {
		switch {
		case t.cluster != c || t.status == stopped:
		case t.status >= running:
			v.RunningTasks++
		default:
			v.PendingTasks++
		}
	}
	return v
}

func createCluster(c *call, in *struct {
	ClusterName       string
	CapacityProviders []string
	Tags              []tag
},
) (any, error) {
	if in.ClusterName == "" {
		in.ClusterName = "default"
	}
	if err := c.may(arn("ecs", "cluster/"+in.ClusterName), nil); err != nil {
		return nil, err
	}
	made := c.clusters[in.ClusterName]
	if made == nil || made.status != "ACTIVE" {
		made = c.addCluster(in.ClusterName)
		made.providers = in.CapacityProviders
		c.tags[made.arn] = in.Tags
	}
	return map[string]any{"cluster": c.viewCluster(made)}, nil
}

func deleteCluster(c *call, in *struct{ Cluster string }) (any, error) {
	found, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := c.may(found.arn, nil); err != nil {
		return nil, err
	}
	for _, t := range c.tasks.byID {
		if t.cluster == found && t.status != stopped {
			return nil, fault("ClusterContainsTasksException", "The Cluster cannot be deleted while Tasks are active.")
		}
	}
	found.status = "INACTIVE"
	return map[string]any{"cluster": c.viewCluster(found)}, nil
}

func describeClusters(c *call, in *struct{ Clusters []string }) (any, error) {
	if len(in.Clusters) == 0 {
		in.Clusters = []string{"default"}
	}
	views, failures := []clusterView{}, []failureView{}
	for _, id := range in.Clusters {
		name := strings.TrimPrefix(id, arn("ecs", "cluster/"))
		if err := c.may(arn("ecs", "cluster/"+name), nil); err != nil {
			return nil, err
		}
		if found := c.clusters[name]; found != nil {
			views = append(views, c.viewCluster(found))
		} else {
			failures = append(failures, failureView{ARN: arn("ecs", "cluster/"+name), Reason: "MISSING"})
		}
	}
	return map[string]any{"clusters": views, "failures": failures}, nil
}

func listClusters(c *call, _ *struct{}) (any, error) {
	if err := c.may("*", nil); err != nil {
		return nil, err
	}
	list := []string{}
	for _, found := range c.clusters {
		if found.status == "ACTIVE" {
			list = append(list, found.arn)
		}
	}
	slices.Sort(list)
	return map[string]any{"clusterArns": list}, nil
}

func putClusterCapacityProviders(c *call, in *struct {
	Cluster           string
	CapacityProviders []string
},
) (any, error) {
	found, err := c.clusterOf(in.Cluster)
	if err != nil {
		return nil, err
	}
	if err := c.may(found.arn, nil); err != nil {
		return nil, err
	}
	found.providers = in.CapacityProviders
	return map[string]any{"cluster": c.viewCluster(found)}, nil
}
