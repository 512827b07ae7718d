import type { Component } from './component'
import { kafka } from './kafka'
import { postgres } from './postgres'
import type { ComponentName } from './state'
import { temporal } from './temporal'

export const COMPONENTS: Record<ComponentName, Component> = { postgres, kafka, temporal }
