# What a server needs to run ecs:push pools, and what a worker of an ecs pool needs as well: a cluster, the roles of tasks, a log group, and the
# rights of whoever submits the tasks.

data "aws_caller_identity" "this" {}
data "aws_partition" "this" {}
data "aws_region" "this" {}

locals {
  # ARNs are put together from names, so that a plan shows the policies before anything is made.
  of                 = data.aws_caller_identity.this.account_id
  execution_role_arn = "arn:${data.aws_partition.this.partition}:iam::${local.of}:role/${var.name}-execution"
  job_role_arn       = "arn:${data.aws_partition.this.partition}:iam::${local.of}:role/${var.name}-job"
  events             = var.events ? "${var.name}-events" : ""
}

module "policies" {
  source = "../ecs-policies"

  partition     = data.aws_partition.this.partition
  region        = data.aws_region.this.id
  account       = local.of
  cluster       = var.cluster
  family_prefix = var.family_prefix
  families      = var.families
  roles         = concat([local.execution_role_arn, local.job_role_arn], var.further_job_roles)
  log_groups    = [var.log_group]
  repositories  = var.repositories
  secrets       = var.secrets
  parameters    = var.parameters
  keys          = var.keys
  queue         = local.events
  rule          = local.events
}

resource "aws_ecs_cluster" "jobs" {
  count = var.create_cluster ? 1 : 0

  name = var.cluster
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = var.container_insights ? "enabled" : "disabled"
  }
}

# Without these a task can ask for neither FARGATE nor FARGATE_SPOT by `capacity`.
resource "aws_ecs_cluster_capacity_providers" "jobs" {
  count = var.create_cluster ? 1 : 0

  cluster_name       = aws_ecs_cluster.jobs[0].name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_cloudwatch_log_group" "jobs" {
  name              = var.log_group
  retention_in_days = var.log_retention_days
  tags              = var.tags
}

# ECS starts tasks with this role: it pulls the image, reads the secrets and writes the log. The job itself does not have it.
resource "aws_iam_role" "execution" {
  name                 = "${var.name}-execution"
  description          = "ECS starts the tasks of Weir's jobs with this role."
  assume_role_policy   = module.policies.agent
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "weir"
  role   = aws_iam_role.execution.id
  policy = module.policies.execution
}

# Jobs have this role. It allows nothing by itself: attach what your jobs need to it.
resource "aws_iam_role" "job" {
  name                 = "${var.name}-job"
  description          = "Weir's jobs have this role. It allows nothing until a policy is attached to it."
  assume_role_policy   = module.policies.tasks
  permissions_boundary = var.permissions_boundary
  tags                 = var.tags
}

resource "aws_iam_policy" "runner" {
  name        = "${var.name}-runner"
  description = "What a Weir server or worker may do to run tasks in cluster ${var.cluster}."
  policy      = module.policies.runner
  tags        = var.tags
}

# The server's own role, where it has one already. A user, or a role that is made elsewhere, takes the policy by the output runner_policy_arn.
resource "aws_iam_role_policy_attachment" "server" {
  count = var.server_role == null ? 0 : 1

  role       = var.server_role
  policy_arn = aws_iam_policy.runner.arn
}
