# Render and Neon together, in place of render.yaml and two consoles: README.md beside this folder, "OpenTofu".
terraform {
  required_version = ">= 1.8"
  required_providers {
    render = {
      source  = "render-oss/render"
      version = ">= 1.3, < 2"
    }
    neon = {
      source  = "kislerdm/neon"
      version = "~> 0.13"
    }
  }
}

# RENDER_API_KEY and RENDER_OWNER_ID.
provider "render" {
  wait_for_deploy_completion = true
}

# NEON_API_KEY.
provider "neon" {}

variable "image" {
  description = "Without the version: REGISTRY/OWNER/tasks-api-backend."
  type        = string
}

variable "tag" {
  description = "The version. A new one is a roll-out."
  type        = string
}

variable "database_url" {
  description = "The URL of the service's own role (SECURITY.md). Empty until it is there: the owner's URL is used."
  type        = string
  default     = ""
  sensitive   = true
}

resource "neon_project" "tasks_api" {
  name       = "tasks-api"
  region_id  = "aws-eu-central-1"
  pg_version = 18
  # How far back it can be restored; the free plan allows six hours.
  history_retention_seconds = 604800

  branch {
    name          = "main"
    database_name = "app"
    role_name     = "owner"
  }

  default_endpoint_settings {
    # 104 connections at least, of which 97 are for the service: a test counts them.
    autoscaling_limit_min_cu = 0.25
    autoscaling_limit_max_cu = 1
  }

  lifecycle {
    prevent_destroy = true
  }
}

locals {
  # Neon's URL encrypts; this one also checks whom it talks to.
  owner_url = replace(neon_project.tasks_api.connection_uri, "sslmode=require", "sslmode=verify-full")
}

resource "render_web_service" "tasks_api" {
  name   = "tasks-api"
  plan   = "starter"
  region = "frankfurt"
  # While a version rolls out there are twice as many: 2 x 2 x two workers of five connections are 40.
  num_instances              = 2
  pre_deploy_command         = "python -m alembic upgrade head"
  health_check_path          = "/health/live"
  max_shutdown_delay_seconds = 35

  runtime_source = {
    image = {
      image_url = var.image
      tag       = var.tag
    }
  }

  env_vars = {
    DATABASE_URL        = { value = var.database_url != "" ? var.database_url : local.owner_url }
    DATABASE_DIRECT_URL = { value = local.owner_url }
    WEB_CONCURRENCY     = { value = "2" }
    DATABASE_POOL_SIZE  = { value = "5" }
    PORT                = { value = "8000" }
  }
}

output "url" {
  value = render_web_service.tasks_api.url
}
