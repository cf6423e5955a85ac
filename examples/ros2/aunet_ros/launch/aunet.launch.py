"""ros2 launch aunet_ros aunet.launch.py image:=/camera/image_raw [namespace:=robot] [config:=FILE]"""

from pathlib import Path

from ament_index_python.packages import get_package_share_directory
from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description():
    config = Path(get_package_share_directory("aunet_ros")) / "config" / "aunet.yaml"
    return LaunchDescription(
        [
            DeclareLaunchArgument("image", default_value="/image", description="the image topic"),
            DeclareLaunchArgument("namespace", default_value="", description="above /humans/faces"),
            DeclareLaunchArgument("config", default_value=str(config), description="parameters"),
            Node(
                package="aunet_ros",
                executable="aunet_node",
                name="aunet",
                namespace=LaunchConfiguration("namespace"),
                parameters=[LaunchConfiguration("config")],
                remappings=[("image", LaunchConfiguration("image"))],
                respawn=True,
                respawn_delay=2.0,
                output="screen",
            ),
        ]
    )
